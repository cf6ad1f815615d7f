// A headless Chromium, driven over its pipe by the DevTools protocol: descriptors 3 (to it) and 4 (from it), messages of JSON that end
// with a zero byte. No port is opened; it ends when the pipe does. It reaches 127.0.0.1 and nothing else.
import { type ChildProcess, spawn } from 'node:child_process';
import { accessSync, constants, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import process from 'node:process';
import type { Readable, Writable } from 'node:stream';

/** test/setup.sh asks for one of the same. */
const NAMES = ['chromium-headless-shell', 'chromium', 'chromium-browser', 'google-chrome'];
const FLAGS = [
  '--headless=new',
  '--no-sandbox', // root may not be in it
  '--remote-debugging-pipe',
  '--disable-gpu',
  '--disable-dev-shm-usage',
  '--disable-background-networking',
  '--disable-component-update',
  '--no-first-run',
  '--hide-scrollbars',
  '--force-color-profile=srgb',
  '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1',
];
const PATIENCE_MS = 20_000;
const LOOK_EVERY_MS = 50;

export interface Viewport {
  readonly width: number;
  readonly height: number;
  readonly scheme?: 'light' | 'dark';
  /** As tall as the page, for a picture of all of it. */
  readonly isMobile?: boolean;
}

/** A node of the accessibility tree, as a screen reader has it. */
export interface AccessibleNode {
  readonly role: string;
  readonly name: string;
  readonly description: string;
}

export interface Page {
  /** Addresses that the page asked for, with the method. */
  readonly requests: readonly string[];
  /** Errors and warnings of the console, exceptions, and what the browser itself says (refused by policy, not found). */
  readonly complaints: readonly string[];
  /** A script to run in every document before its own. */
  runFirst(source: string): Promise<void>;
  open(url: string): Promise<void>;
  setViewport(viewport: Viewport): Promise<void>;
  /** The value of an expression, as JSON; promises are waited for. */
  evaluate<T>(expression: string): Promise<T>;
  /** Until the expression is truthy; its value. */
  until<T>(expression: string): Promise<T>;
  press(key: keyof typeof KEY_CODES): Promise<void>;
  type(text: string): Promise<void>;
  accessibleNodes(): Promise<readonly AccessibleNode[]>;
  /** A PNG of the whole page. */
  /** A PNG of the whole page, or of what is in view. */
  screenshot(isView?: boolean): Promise<Uint8Array>;
}

export interface Chromium {
  newPage(): Promise<Page>;
  close(): Promise<void>;
}

type Json = Record<string, unknown>;

function programPath(): string {
  for (const name of NAMES) {
    for (const folder of (process.env['PATH'] ?? '').split(delimiter)) {
      const path = join(folder, name);
      try {
        accessSync(path, constants.X_OK);
        return path;
      } catch {
        continue;
      }
    }
  }
  throw new Error(`Cannot find a Chromium: install one of ${NAMES.join(', ')} (apt-get install ${NAMES[0]})`);
}

export interface ChromiumOptions {
  /** Words before the program: what enters a namespace. */
  readonly enter?: readonly string[];
}

export async function openChromium({ enter = [] }: ChromiumOptions = {}): Promise<Chromium> {
  const profile = mkdtempSync(join(tmpdir(), 'weft-chromium-'));
  const [program = '', ...words]: readonly string[] = [
    ...enter,
    programPath(),
    ...FLAGS,
    `--user-data-dir=${profile}`,
  ];
  const child = spawn(program, words, {
    stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'],
    detached: true, // a group of its own: Debian's command is a shell script that stays
  });
  const ended = new Promise<void>((resolve) => child.on('exit', () => resolve()));
  child.on('error', () => undefined); // told by the pipe, which ends
  const wire = createWire(child, ended);
  return {
    newPage: async () => {
      const { targetId } = await wire.send('Target.createTarget', { url: 'about:blank' });
      const { sessionId } = await wire.send('Target.attachToTarget', { targetId, flatten: true });
      return openPage(wire, String(sessionId));
    },
    async close() {
      if (child.pid !== undefined && child.exitCode === null) process.kill(-child.pid, 'SIGKILL');
      await ended;
      rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}

interface Wire {
  send(method: string, params?: Json, sessionId?: string): Promise<Json>;
  on(sessionId: string, listener: (method: string, params: Json) => void): void;
}

function createWire(child: ChildProcess, ended: Promise<void>): Wire {
  const to = child.stdio[3] as Writable; // as: both are pipes, see spawn
  const from = child.stdio[4] as Readable; // as: see above
  const waiting = new Map<number, { resolve: (result: Json) => void; reject: (error: Error) => void }>();
  const listeners = new Map<string, (method: string, params: Json) => void>();
  let lastId = 0;
  let pending = '';
  to.on('error', () => undefined); // it has ended
  void ended.then(() => {
    for (const { reject } of waiting.values()) reject(new Error('Chromium has ended'));
  });
  from.setEncoding('utf8').on('data', (text: string) => {
    const messages = (pending + text).split('\0');
    pending = messages.pop() ?? '';
    for (const message of messages) take(JSON.parse(message) as Json); // as: the protocol's form
  });
  const take = ({ id, result, error, method, params, sessionId }: Json): void => {
    if (typeof id !== 'number') {
      listeners.get(String(sessionId))?.(String(method), params as Json); // as: the protocol's form
      return;
    }
    const waiter = waiting.get(id);
    waiting.delete(id);
    if (error === undefined) waiter?.resolve(result as Json); // as: the protocol's form
    else waiter?.reject(new Error(JSON.stringify(error)));
  };
  return {
    send(method, params = {}, sessionId) {
      lastId += 1;
      const id = lastId;
      return new Promise((resolve, reject) => {
        waiting.set(id, { resolve, reject });
        to.write(
          `${JSON.stringify({ id, method, params, ...(sessionId === undefined ? {} : { sessionId }) })}\0`,
        );
      });
    },
    on: (sessionId, listener) => void listeners.set(sessionId, listener),
  };
}

async function openPage(wire: Wire, sessionId: string): Promise<Page> {
  const send = (method: string, params?: Json): Promise<Json> => wire.send(method, params, sessionId);
  const requests: string[] = [];
  const complaints: string[] = [];
  wire.on(sessionId, (method, params) => {
    const told = complaintOf(method, params);
    if (told !== undefined) complaints.push(told);
    if (method !== 'Network.requestWillBeSent') return;
    const { method: verb, url } = params['request'] as Json; // as: the protocol's form
    requests.push(`${String(verb)} ${String(url)}`);
  });
  for (const domain of ['Page', 'Runtime', 'Log', 'Network', 'DOM']) await send(`${domain}.enable`);
  const page: Page = {
    requests,
    complaints,
    async runFirst(source) {
      await send('Page.addScriptToEvaluateOnNewDocument', { source });
    },
    async open(url) {
      await send('Page.navigate', { url });
    },
    async setViewport({ width, height, scheme = 'light', isMobile = false }) {
      await send('Emulation.setDeviceMetricsOverride', {
        width,
        height,
        deviceScaleFactor: 1,
        mobile: isMobile,
      });
      await send('Emulation.setEmulatedMedia', {
        features: [{ name: 'prefers-color-scheme', value: scheme }],
      });
    },
    async evaluate<T>(expression: string): Promise<T> {
      const { result, exceptionDetails } = await send('Runtime.evaluate', {
        expression,
        awaitPromise: true,
        returnByValue: true,
      });
      if (exceptionDetails !== undefined)
        throw new Error(`${expression}: ${JSON.stringify(exceptionDetails)}`);
      return (result as Json)['value'] as T; // as: the caller knows what it asked for
    },
    async until<T>(expression: string): Promise<T> {
      const end = performance.now() + PATIENCE_MS;
      for (;;) {
        const value = await page.evaluate<T>(expression).catch(() => undefined); // between two documents there is none
        if (value) return value;
        if (performance.now() > end) {
          const text = await page.evaluate<string>('document.body.innerText');
          throw new Error(`The page did not come to: ${expression}\n${complaints.join('\n')}\n${text}`);
        }
        await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
      }
    },
    async press(key) {
      const code = key === 'Enter' ? { text: '\r' } : {};
      await send('Input.dispatchKeyEvent', {
        type: 'keyDown',
        key,
        code: key,
        windowsVirtualKeyCode: KEY_CODES[key],
        ...code,
      });
      await send('Input.dispatchKeyEvent', {
        type: 'keyUp',
        key,
        code: key,
        windowsVirtualKeyCode: KEY_CODES[key],
      });
    },
    async type(text) {
      await send('Input.insertText', { text });
    },
    async accessibleNodes() {
      const { nodes } = await send('Accessibility.getFullAXTree');
      const text = (value: unknown): string =>
        (value as { readonly value?: string } | undefined)?.value ?? ''; // as: the protocol's form
      return (nodes as Json[]) // as: the protocol's form
        .filter(({ ignored }) => ignored !== true)
        .map(({ role, name, description }) => ({
          role: text(role),
          name: text(name),
          description: text(description),
        }));
    },
    async screenshot(isView = false) {
      const { data } = await send('Page.captureScreenshot', {
        format: 'png',
        captureBeyondViewport: !isView,
      });
      return Buffer.from(String(data), 'base64');
    },
  };
  return page;
}

const KEY_CODES = {
  Tab: 9,
  Enter: 13,
  Escape: 27,
  End: 35,
  Home: 36,
  ArrowLeft: 37,
  ArrowUp: 38,
  ArrowRight: 39,
  ArrowDown: 40,
};

function complaintOf(method: string, params: Json): string | undefined {
  if (method === 'Runtime.exceptionThrown') return JSON.stringify(params['exceptionDetails']);
  if (method === 'Log.entryAdded') {
    const { level, text, url = '' } = params['entry'] as Readonly<Record<string, string>>; // as: the protocol's form
    return level === 'error' || level === 'warning' ? `${text} ${url}` : undefined;
  }
  if (method !== 'Runtime.consoleAPICalled') return undefined;
  return ['error', 'warning', 'assert'].includes(String(params['type']))
    ? JSON.stringify(params['args'])
    : undefined;
}
