// The last warnings and errors of this process, for the status page: listens to a logger. Equal ones in a row are one with a count, so that
// what is tried again and again does not push out what came before. Bounded in number and length; nothing but messages and codes is kept.
import type { RecentEvent } from '../../../proto/node-report.ts';
import type { LogFields, Logger } from '../../telemetry/logger.ts';

export interface RecentEvents {
  /** The same logger, whose warnings and errors are remembered from now on. */
  listeningTo(log: Logger): Logger;
  /** The newest first. */
  list(): readonly RecentEvent[];
}

interface Remembered extends Omit<RecentEvent, 'ageSeconds'> {
  readonly atMs: number;
}

const MOST = 10;
const LONGEST = 600;

/** `clockMs` is monotonic. */
export function createRecentEvents(clockMs: () => number): RecentEvents {
  let remembered: readonly Remembered[] = [];
  const remember = ({ level, event, text }: Pick<RecentEvent, 'level' | 'event' | 'text'>): void => {
    const same = remembered.find((each) => each.event === event && each.text === text);
    const added = { level, event, text, atMs: clockMs(), count: (same?.count ?? 0) + 1 };
    remembered = [added, ...remembered.filter((each) => each !== same)].slice(0, MOST);
  };
  const listeningTo = (log: Logger): Logger => ({
    trace: log.trace,
    debug: log.debug,
    info: log.info,
    warn(event, message, fields) {
      remember({ level: 'warn', event, text: textOf(message, fields) });
      log.warn(event, message, fields);
    },
    error(event, message, fields) {
      remember({ level: 'error', event, text: textOf(message, fields) });
      log.error(event, message, fields);
    },
    child: (role) => listeningTo(log.child(role)),
    flush: () => log.flush(),
  });
  return {
    listeningTo,
    list: () =>
      remembered.map(({ level, event, text, count, atMs }) => ({
        level,
        event,
        text,
        ageSeconds: (clockMs() - atMs) / 1000,
        count,
      })),
  };
}

/** Of the errno names' kind; CNI's codes are numbers. */
const NAME = /^(?!UNKNOWN$)[A-Z]/;

function textOf(message: string, fields: LogFields = {}): string {
  const code = fields['code'] ?? '';
  const text = !NAME.test(code) || message.includes(code) ? message : `${message} (${code})`;
  return text.length <= LONGEST ? text : `${text.slice(0, LONGEST)}…`;
}
