// Asks one question. Reads {base, body, way, modules} from stdin, writes what came.

import {gateway, given, readAll, tell} from './platform.mjs';

tell(await readAll(gateway.stream(given.body)));
