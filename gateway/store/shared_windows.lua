-- Counts one hit in each window KEYS[i], which holds at most ARGV[2i - 1] hits in ARGV[2i] milliseconds, up to the first
-- that is full. A window is a list of the times of its hits, the oldest first. For each: whether it passed, how many more would,
-- and the milliseconds until the oldest leaves.
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local found = {}
for i, window in ipairs(KEYS) do
    local limit, length = tonumber(ARGV[2 * i - 1]), tonumber(ARGV[2 * i])
    local hits = redis.call('LLEN', window)
    local function hit_at(place)
        return tonumber(redis.call('LINDEX', window, place) or now)
    end
    local oldest = hit_at(0)
    if oldest <= now - length then
        local gone, staying = 1, hits
        while gone < staying do
            local middle = math.floor((gone + staying) / 2)
            if hit_at(middle) <= now - length then
                gone = middle + 1
            else
                staying = middle
            end
        end
        redis.call('LTRIM', window, gone, -1)
        hits = hits - gone
        oldest = hit_at(0)
    end
    local passed = hits < limit
    if passed then
        redis.call('RPUSH', window, now)
        redis.call('PEXPIRE', window, length)
        hits = hits + 1
    end
    found[i] = {passed and 1 or 0, limit - hits, oldest + length - now}
    if not passed then
        break
    end
end
return found
