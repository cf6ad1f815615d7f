// What the keeper tells the others about the roles, as a small file under the run directory: pids and restarts, for metrics and status.
import { readFileSync, renameSync, writeFileSync } from 'node:fs';

export interface RoleState {
  readonly role: string;
  /** 0 while none runs; of a role with several turns the first one's, 0 while any of them is nobody's. */
  readonly pid: number;
  /** Of each turn, where the role has several; 0 = nobody's. */
  readonly pids?: readonly number[];
  readonly restarts: number;
}

export const rolesPath = (runDirectory: string): string => `${runDirectory}/roles.json`;

export function writeRoleStates(path: string, states: readonly RoleState[]): void {
  writeFileSync(`${path}.new`, JSON.stringify(states), { mode: 0o600 });
  renameSync(`${path}.new`, path);
}

/** Empty when the file is not there or not whole: the keeper writes it before anybody reads. */
export function readRoleStates(path: string): readonly RoleState[] {
  try {
    const value: unknown = JSON.parse(readFileSync(path, 'utf8'));
    return Array.isArray(value) ? value.filter(isRoleState) : [];
  } catch {
    return [];
  }
}

/** Of each turn; 0 = nobody's. */
export const pidsOf = ({ pid, pids }: Pick<RoleState, 'pid' | 'pids'>): readonly number[] => pids ?? [pid];

/** True when the keeper says that no process of the role works: none of them, where it has several. */
export const isDown = (runDirectory: string, role: string): boolean =>
  readRoleStates(rolesPath(runDirectory)).some(
    (state) => state.role === role && pidsOf(state).every((pid) => pid === 0),
  );

const isRoleState = (value: unknown): value is RoleState =>
  typeof value === 'object' &&
  value !== null &&
  'role' in value &&
  typeof value.role === 'string' &&
  'pid' in value &&
  typeof value.pid === 'number' &&
  'restarts' in value &&
  typeof value.restarts === 'number';
