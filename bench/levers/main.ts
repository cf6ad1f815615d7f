// Measures what a lever of the data path would bring, each in the smallest program that shows it: `node bench/levers/main.ts [NAME…]`.
// Everything happens in namespaces of its own; figures are ratios to a baseline that runs in turns with the variants.
import { enterEnclosure } from '../../test/lab/enclosure.ts';

const LEVERS: Readonly<Record<string, () => Promise<void>>> = {
  'tun-read': async () => (await import('./tun-read.ts')).measureTunRead(),
  'tun-read-few': async () => (await import('./tun-read-few.ts')).measureTunReadFew(),
  'tun-write': async () => (await import('./tun-write.ts')).measureTunWrite(),
  'train-send': async () => (await import('./train-send.ts')).measureTrainSend(),
  receive: async () => (await import('./receive.ts')).measureReceive(),
  'foreign-call': async () => (await import('./foreign-call.ts')).measureForeignCalls(),
  'wake-up': async () => (await import('./wake-up.ts')).measureWakeUps(),
  'tun-napi': async () => (await import('./tun-napi.ts')).measureTunNapi(),
  'memory-pages': async () => (await import('./memory-pages.ts')).measureMemoryPages(),
  'bytes-in-flight': async () => (await import('./bytes-in-flight.ts')).measureBytesInFlight(),
};

const names = process.argv.slice(2);
const unknown = names.find((name) => LEVERS[name] === undefined);
if (unknown !== undefined) {
  process.stderr.write(`No lever "${unknown}": name some of ${Object.keys(LEVERS).join(', ')}\n`);
  process.exit(1);
}
await enterEnclosure();
const { machine } = await import('./kernel.ts');
process.stdout.write(`${machine()}\n`);
for (const name of names.length === 0 ? Object.keys(LEVERS) : names) await LEVERS[name]?.();
process.exit(0);
