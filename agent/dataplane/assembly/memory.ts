// AssemblyScript. Where things lie, set once before the first packet.

/** Address of byte 0 of the arena, which iovecs are written with. */
export let base: u64 = 0;
export let flows: usize = 0;
export let ledger: usize = 0;
export let writeIovecs: usize = 0;

export function setBase(low: u32, high: u32): void {
  base = ((<u64>high) << 32) | low;
}

/** FLOWS flow records, and the ledger and iovec arrays of the write batch. */
export function setWrites(flowRecords: usize, writeLedger: usize, iovecs: usize): void {
  flows = flowRecords;
  ledger = writeLedger;
  writeIovecs = iovecs;
}
