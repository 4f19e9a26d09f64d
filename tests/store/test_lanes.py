from collections import defaultdict
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from gateway.store.lanes import Lanes


@dataclass(frozen=True, slots=True)
class Item:
    conversation: str
    number: int
    size: int = 1


class Model:
    """Lanes, what is out of them, and what was written of each conversation."""

    def __init__(self) -> None:
        self.lanes: Lanes[Item] = Lanes()
        self.out: list[Item] = []
        self.added: dict[str, list[int]] = defaultdict(list)
        self.written: dict[str, list[int]] = defaultdict(list)

    def add(self, number: int) -> None:
        item = Item("abcd"[number % 4], sum(map(len, self.added.values())))
        self.added[item.conversation].append(item.number)
        self.lanes.add(item)

    def take(self, number: int) -> None:
        was_ready = self.lanes.ready
        taken = self.lanes.take(number, 100)
        assert bool(taken) == bool(was_ready)
        self.out += taken
        assert len({item.conversation for item in self.out}) == len(self.out)

    def done(self, number: int) -> None:
        if self.out:
            item = self.out.pop(number % len(self.out))
            self.written[item.conversation].append(item.number)
            self.lanes.done([item])

    def back(self, number: int) -> None:
        if self.out:
            self.lanes.back([self.out.pop(number % len(self.out))])


@given(st.lists(st.tuples(st.sampled_from(["add", "add", "take", "done", "back"]), st.integers(1, 9)), max_size=80))
def test_conversations_keep_their_order_and_have_one_item_out_at_most(steps: list[tuple[str, int]]) -> None:
    model = Model()
    for name, number in steps:
        getattr(model, name)(number)
    while model.lanes:
        model.take(9)
        model.done(0)
    assert model.written == model.added


def test_the_longest_waiting_conversations_go_first_within_both_bounds() -> None:
    lanes: Lanes[Item] = Lanes()
    for number, conversation in enumerate("abcde"):
        lanes.add(Item(conversation, number, size=10))
    assert [item.conversation for item in lanes.take(2, 100)] == ["a", "b"]
    assert [item.conversation for item in lanes.take(9, 15)] == ["c", "d"]
    assert [item.conversation for item in lanes.take(9, 1)] == ["e"]
    assert not lanes.ready
    assert lanes
