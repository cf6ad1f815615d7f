// The levels of log lines, from the least important on. Pure.

export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error'] as const;

export type LogLevel = (typeof LOG_LEVELS)[number];

/** A word that is no level means info. */
export const parseLogLevel = (word: string | undefined): LogLevel =>
  LOG_LEVELS.find((level) => level === word) ?? 'info';
