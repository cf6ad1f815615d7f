// The panel of one peer: what its link does, the course of its round trip, its blocks, and what to do when something is wrong.

/** @import { Facts } from './facts.js' */
/** @import { History, Link } from './history.js' */
import { draw, make, setAttribute, setRows, setText } from './elements.js';
import { blockName } from './facts.js';
import { formatAge, formatBits, formatLoss, formatRoundTrip, isLossy, roundTripWords } from './words.js';

const BLOCKS_NAMED = 8;
/** A peer whose probe was heard since then reaches us. A peer without traffic is asked in turn, in a large cluster seldom. */
const HEARD_SECONDS = 10;
const COURSE = { width: 240, height: 44, seconds: 120 };

export class Details {
  #heading;
  #body;
  #advice = make('p', { class: 'advice' });
  #rows = make('dl', { class: 'rows' });
  #course = draw('svg', {
    class: 'course',
    viewBox: `0 0 ${COURSE.width} ${COURSE.height}`,
    preserveAspectRatio: 'none',
    'aria-hidden': 'true',
  });
  #courseNote = make('p', { class: 'note' });

  /**
   * @param {HTMLElement} heading
   * @param {HTMLElement} body
   */
  constructor(heading, body) {
    this.#heading = heading;
    this.#body = body;
  }

  /**
   * @param {string | undefined} name
   * @param {{ link: Link | undefined, facts: Facts, history: History }} known
   */
  update(name, { link, facts, history }) {
    setText(this.#heading, name ?? 'Details');
    if (name === undefined || link === undefined) {
      const text =
        name === undefined ? 'Choose a peer to see its link.' : `"${name}" is no peer of this node now.`;
      if (this.#body.childElementCount !== 1) this.#body.replaceChildren(make('p', { class: 'note' }));
      if (this.#body.firstElementChild) setText(this.#body.firstElementChild, text);
      return;
    }
    if (this.#rows.parentNode !== this.#body)
      this.#body.replaceChildren(this.#advice, this.#rows, this.#course, this.#courseNote);
    const advice = adviceFor(link, facts);
    this.#advice.hidden = advice === '';
    setText(this.#advice, advice);
    setRows(this.#rows, rowsOf(link, facts));
    this.#drawCourse(history.course(name));
  }

  /** @param {ReturnType<History['course']>} course */
  #drawCourse(course) {
    const measured = course.map(({ roundTripMs }) => roundTripMs).filter((each) => each !== undefined);
    const [least, most] = [Math.min(...measured), Math.max(...measured)];
    setText(
      this.#courseNote,
      measured.length < 2
        ? 'The course of the round trip shows here after a few answers.'
        : `Round trip in the last two minutes: ${formatRoundTrip(least)} to ${formatRoundTrip(most)}`,
    );
    const { width, height, seconds } = COURSE;
    let d = '';
    let isPenDown = false;
    for (const { secondsAgo, roundTripMs } of course) {
      if (roundTripMs !== undefined) {
        const x = width * (1 - secondsAgo / seconds);
        const y = height - 2 - (height - 4) * (roundTripMs / most);
        d += `${isPenDown ? 'L' : 'M'}${x.toFixed(1)} ${y.toFixed(1)}`;
      }
      isPenDown = roundTripMs !== undefined;
    }
    const path = this.#course.firstElementChild ?? draw('path', { class: 'course-line' });
    if (path.parentNode === null) this.#course.append(path);
    setAttribute(path, 'd', d);
  }
}

/**
 * @param {Link} link
 * @param {Facts} facts
 * @returns {readonly (readonly [string, string])[]}
 */
function rowsOf(link, facts) {
  const { peer } = link;
  const blocks = facts.held
    .filter(({ holder }) => holder === peer.name)
    .map(({ index }) => blockName(facts, index));
  const more = blocks.length - BLOCKS_NAMED;
  const failed = peer.heardSecondsAgo === undefined ? 'never answered' : 'failed';
  const state = { established: 'answers', failed, pending: 'has not answered yet' }[peer.state];
  return [
    ['State', `${state}, for ${formatAge(peer.stateSeconds)}`],
    ['Last heard', peer.heardSecondsAgo === undefined ? 'never' : `${formatAge(peer.heardSecondsAgo)} ago`],
    [
      'It asks us',
      peer.askedSecondsAgo === undefined ? 'never heard' : `heard ${formatAge(peer.askedSecondsAgo)} ago`,
    ],
    ['Round trip', roundTripWords(link)],
    [
      'Loss',
      link.loss === undefined
        ? formatLoss(link)
        : `${link.loss.lost} of ${link.loss.of} probes in the last minute`,
    ],
    ['Path MTU', peer.pathMtu === undefined ? 'not known' : `${peer.pathMtu} bytes`],
    ['Sent', formatBits(link.egressRate)],
    ['Received', formatBits(link.ingressRate)],
    ['Underlay', peer.address],
    ['Version', peer.version === '' ? 'not told' : peer.version],
    ['Blocks', `${blocks.slice(0, BLOCKS_NAMED).join(', ') || 'none'}${more > 0 ? ` and ${more} more` : ''}`],
  ];
}

/**
 * What to do about a link; empty: nothing.
 * @param {Link} link
 * @param {Facts} facts
 */
export function adviceFor(link, { told }) {
  const { peer } = link;
  const port = `UDP ${told.node.port}`;
  if (
    peer.state !== 'established' &&
    peer.askedSecondsAgo !== undefined &&
    peer.askedSecondsAgo < HEARD_SECONDS
  )
    return `Its own probes arrive here, and ours get no answer: the way from here to there is blocked. See what drops ${port} on the way to ${peer.address}.`;
  if (peer.state === 'failed' && peer.heardSecondsAgo === undefined)
    return `It has never answered. See whether its agent runs, and whether ${port} is open between the two nodes in both directions; "weft doctor" on either looks for the cause.`;
  if (peer.state === 'failed')
    return `It has stopped answering. See whether the node is up, and whether ${port} is open between the two nodes in both directions; "weft doctor" on either looks for the cause.`;
  if (peer.state === 'pending')
    return `It is new here and has not answered yet. If it goes on, see whether its agent runs, and whether ${port} is open between the two nodes in both directions.`;
  if (isLossy(link))
    return 'Probes are lost on the way there or back: look for a link that is full or damaged, or a node that is too busy.';
  if (link.isPathLow)
    return `The path takes ${peer.pathMtu} bytes, this node's interfaces ${told.network.mtu}. Pods are told by ICMP; if the underlay should carry more, look at its links and tunnels.`;
  return '';
}
