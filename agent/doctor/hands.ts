// The hands of `weft doctor --fix`: the kernel's side of repair.ts.
import { setLink, setRoute } from '../linux/interface.ts';
import { NETLINK_ROUTE, openNetlink } from '../linux/netlink-socket.ts';
import { openPodGuard } from '../control/node/pod-guard.ts';
import { codeOf, OperationError } from '../operation-error.ts';
import type { Hands } from './repair.ts';

/** Throws OperationError: an errno name. */
export function openHands(): Hands & { close(): void } {
  const route = openNetlink(NETLINK_ROUTE);
  const guard = openPodGuard();
  return {
    setLink: (name, { up, ...change }) => {
      // As control does it: settings must hold when the link comes up; and a port has its settings once it is one.
      const { master, ...settings } = change;
      if (master !== undefined) setLink(route, name, { master });
      if (Object.keys(settings).length > 0) setLink(route, name, settings);
      if (up !== undefined) setLink(route, name, { up });
    },
    setRoute: (item) => setRoute(route, item),
    allowPod: (element) => guard.add(element),
    continueProcess: (pid) => {
      try {
        process.kill(pid, 'SIGCONT');
      } catch (error) {
        throw new OperationError(
          `Cannot continue process ${pid} (${codeOf(error)}): run it as root on the node`,
          {
            code: codeOf(error),
            cause: error,
          },
        );
      }
    },
    close: () => {
      route.close();
      guard.close();
    },
  };
}
