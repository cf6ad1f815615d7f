// How facts are said and sorted into classes: round trips into five, loss into three. Pure.

/** @import { Link } from './history.js' */

/** Upper bounds of the first four classes of round trips, in milliseconds. */
export const ROUND_TRIP_BOUNDS = [0.5, 2, 10, 50];
/** Share of probes lost from which on a link loses much and needs a look, as /status has it. */
export const MUCH_LOSS = 0.1;

/**
 * Signs of a link, as classes, and their words; docs/operations/map.md has them.
 * @type {readonly (readonly [sign: string, words: string])[]}
 */
export const SIGNS = [
  ['established rtt-1', 'round trip below 0.5 ms'],
  ['established rtt-2', '0.5 to 2 ms'],
  ['established rtt-3', '2 to 10 ms'],
  ['established rtt-4', '10 to 50 ms'],
  ['established rtt-5', '50 ms or more'],
  ['established rtt-1 loss-some', 'loses probes'],
  ['established rtt-1 loss-much', 'loses 10% or more'],
  ['established rtt-1 path-low', 'path takes less'],
  ['failed', 'failed'],
  ['pending', 'not heard yet'],
];
/**
 * @param {number} milliseconds
 * @returns {number} 1 to 5
 */
export const roundTripClass = (milliseconds) =>
  1 + ROUND_TRIP_BOUNDS.filter((bound) => milliseconds >= bound).length;

/**
 * @param {number} seconds
 * @returns {string} as the status pages say it: 7s, 3m12s, 5h04m, 2d03h
 */
export function formatAge(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const days = Math.floor(whole / 86_400);
  const hours = Math.floor(whole / 3600) % 24;
  const minutes = Math.floor(whole / 60) % 60;
  /** @param {number} value */
  const two = (value) => String(value).padStart(2, '0');
  if (days > 0) return `${days}d${two(hours)}h`;
  if (hours > 0) return `${hours}h${two(minutes)}m`;
  if (minutes > 0) return `${minutes}m${two(whole % 60)}s`;
  return `${whole}s`;
}

/** @param {number | undefined} milliseconds */
export function formatRoundTrip(milliseconds) {
  if (milliseconds === undefined) return 'not measured';
  return `${milliseconds < 10 ? milliseconds.toFixed(2) : milliseconds.toFixed(0)} ms`;
}

/** @param {number | undefined} bytesPerSecond */
export function formatBits(bytesPerSecond) {
  if (bytesPerSecond === undefined) return '…';
  const bits = bytesPerSecond * 8;
  if (bits === 0) return '0';
  if (bits < 1000) return `${bits.toFixed(0)} bit/s`;
  if (bits < 1e6) return `${(bits / 1e3).toFixed(1)} kbit/s`;
  if (bits < 1e9) return `${(bits / 1e6).toFixed(1)} Mbit/s`;
  return `${(bits / 1e9).toFixed(2)} Gbit/s`;
}

/** @param {number | undefined} perSecond */
export function formatRate(perSecond) {
  if (perSecond === undefined) return '…';
  if (perSecond === 0) return '0/s';
  if (perSecond < 0.1) return '< 0.1/s';
  return `${perSecond < 10 ? perSecond.toFixed(1) : formatCount(Math.round(perSecond))}/s`;
}

/** @param {number} count */
export const formatCount = (count) => count.toLocaleString('en');

/**
 * @param {number} count
 * @param {string} one
 */
export const counted = (count, one) => `${formatCount(count)} ${one}${count === 1 ? '' : 's'}`;

/** @param {Link} link */
export function formatLoss({ loss, peer }) {
  if (peer.sent === 0) return 'not probed';
  if (loss === undefined) return 'too few probes to say';
  if (loss.lost === 0) return 'no loss';
  const share = (100 * loss.lost) / loss.of;
  return `${share < 10 ? share.toFixed(1) : share.toFixed(0)}% loss`;
}

/** @param {Link} link */
export const isLossy = ({ peer, loss }) =>
  peer.state === 'established' && loss !== undefined && loss.lost > 0;

/** @param {Link} link */
export const losesMuch = (link) =>
  isLossy(link) && link.loss !== undefined && link.loss.lost / link.loss.of >= MUCH_LOSS;

/**
 * The round trip as it is, or as it was while the peer answered.
 * @param {Link} link
 */
export const roundTripWords = ({ peer }) =>
  `${peer.state === 'failed' && peer.roundTripMs !== undefined ? 'was ' : ''}${formatRoundTrip(peer.roundTripMs)}`;

/**
 * The short word beside a name.
 * @param {Link} link
 */
export function stateWords(link) {
  const { peer } = link;
  if (peer.state === 'failed' && peer.heardSecondsAgo === undefined) return 'has never answered';
  if (peer.state === 'failed') return `failed ${formatAge(peer.stateSeconds)} ago`;
  if (peer.state === 'pending') return 'has not answered yet';
  if (peer.sent === 0) return 'answers no probes';
  const loss = link.loss === undefined ? [] : [formatLoss(link)];
  const low = link.isPathLow ? [`MTU ${peer.pathMtu}`] : [];
  return [formatRoundTrip(peer.roundTripMs), ...loss, ...low].join(' · ');
}

/**
 * All of a link that its sign shows.
 * @param {Link} link
 */
export const describe = (link) => `${link.peer.name}: ${stateWords(link)}`;
