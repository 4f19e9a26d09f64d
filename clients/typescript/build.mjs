// Compiles both kinds of modules, each under a package.json that says which kind it is.

import {spawn} from 'node:child_process';
import {once} from 'node:events';
import {createRequire} from 'node:module';
import {rmSync, writeFileSync} from 'node:fs';
import {dirname, join} from 'node:path';
import {fileURLToPath} from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const typescript = dirname(createRequire(import.meta.url).resolve('typescript/package.json'));

rmSync(join(here, 'dist'), {recursive: true, force: true});
const builds = [['tsconfig.json', 'esm', 'module'], ['tsconfig.cjs.json', 'cjs', 'commonjs']].map(async ([project, folder, type]) => {
  const compiler = spawn(process.execPath, [join(typescript, 'bin', 'tsc'), '-p', join(here, project)], {stdio: 'inherit'});
  const [status] = await once(compiler, 'close');
  if (status !== 0) process.exit(status ?? 1);
  writeFileSync(join(here, 'dist', folder, 'package.json'), `${JSON.stringify({type, sideEffects: false})}\n`);
});
await Promise.all(builds);
