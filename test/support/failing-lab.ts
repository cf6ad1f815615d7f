// A program for the clean-up tests: makes a small lab, says so, and then fails, ends, or stays, as its argument says.
import process from 'node:process';

import { enterEnclosure } from '../lab/enclosure.ts';
import { createLab } from '../lab/lab.ts';

await enterEnclosure();
const lab = await createLab();
const left = await lab.addKernelNode('left', { block: '10.47.255.0/26' });
await lab.endpoint(await left.addPod('pod'));
process.stdout.write('lab is up\n');
const mode = process.argv[2] ?? 'stay';
if (mode === 'fail') throw new Error('failing as asked');
if (mode === 'end') await lab.close();
else await new Promise(() => setInterval(() => undefined, 3_600_000)); // ended by the test
