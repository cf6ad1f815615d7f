// AssemblyScript, compiled to packet-kernels.wasm by assemble.ts: what packet-kernels.ts one level up loads.
export { sum } from './checksum';
export { close, take } from './merging';
export { setBase, setWrites } from './memory';
export { cutTcp, cutUdp } from './segments';
