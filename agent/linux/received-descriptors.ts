// Descriptors that came beside a message: the SCM_RIGHTS records of a control buffer that recvmsg filled (cmsg(3)).
import type { Region } from './arena.ts';

const SOL_SOCKET = 1;
const SCM_RIGHTS = 1;
/** struct cmsghdr: length 8, level 4, type 4. */
export const CMSG_HEADER_BYTES = 16;
const CMSG_ALIGNMENT = 8;

export const alignedControlBytes = (bytes: number): number =>
  Math.ceil(bytes / CMSG_ALIGNMENT) * CMSG_ALIGNMENT;

/** `byteLength`: msg_controllen after the call. They are the caller's to close. */
export function receivedDescriptors({ view }: Region, byteLength: number): readonly number[] {
  const found: number[] = [];
  for (let at = 0; at + CMSG_HEADER_BYTES <= byteLength;) {
    const length = Number(view.getBigUint64(at, true));
    if (length < CMSG_HEADER_BYTES) break;
    if (view.getInt32(at + 8, true) === SOL_SOCKET && view.getInt32(at + 12, true) === SCM_RIGHTS) {
      for (let fd = at + CMSG_HEADER_BYTES; fd + 4 <= at + length; fd += 4)
        found.push(view.getInt32(fd, true));
    }
    at += alignedControlBytes(length);
  }
  return found;
}

/** Writes one SCM_RIGHTS record; returns its length for msg_controllen. */
export function writeDescriptors({ view, bytes }: Region, descriptors: readonly number[]): number {
  const length = CMSG_HEADER_BYTES + descriptors.length * 4;
  bytes.fill(0, 0, alignedControlBytes(length));
  view.setBigUint64(0, BigInt(length), true);
  view.setInt32(8, SOL_SOCKET, true);
  view.setInt32(12, SCM_RIGHTS, true);
  for (const [index, fd] of descriptors.entries()) view.setInt32(CMSG_HEADER_BYTES + index * 4, fd, true);
  return alignedControlBytes(length);
}
