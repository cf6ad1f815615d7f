// Durations as kubectl's tables show them (k8s.io/apimachinery/pkg/util/duration.HumanDuration).

const withRest = (options: { whole: number; unit: string; rest: number; restUnit: string }): string =>
  options.rest === 0
    ? `${options.whole}${options.unit}`
    : `${options.whole}${options.unit}${options.rest}${options.restUnit}`;

/** `7s`, `3m5s`, `6h`, `5d2h`, `2y30d`. */
export function formatAge(durationMs: number): string {
  const seconds = Math.trunc(durationMs / 1000);
  if (seconds < -1) return '<invalid>';
  if (seconds < 0) return '0s';
  if (seconds < 120) return `${seconds}s`;
  const minutes = Math.trunc(seconds / 60);
  if (minutes < 10) return withRest({ whole: minutes, unit: 'm', rest: seconds % 60, restUnit: 's' });
  if (minutes < 180) return `${minutes}m`;
  const hours = Math.trunc(minutes / 60);
  if (hours < 8) return withRest({ whole: hours, unit: 'h', rest: minutes % 60, restUnit: 'm' });
  if (hours < 48) return `${hours}h`;
  const days = Math.trunc(hours / 24);
  if (days < 8) return withRest({ whole: days, unit: 'd', rest: hours % 24, restUnit: 'h' });
  if (days < 730) return `${days}d`;
  const years = Math.trunc(days / 365);
  return years < 8 ? withRest({ whole: years, unit: 'y', rest: days % 365, restUnit: 'd' }) : `${years}y`;
}
