// What control does with the kernel, run by net-admin-only.test.ts without any capability but NET_ADMIN. Descriptor 3 is the pod's
// namespace, 4 a netlink socket opened inside. Prints one JSON object.
import { openNodeNetwork } from '../../agent/control/node/node-network.ts';
import { openPodLinks } from '../../agent/control/node/pod-links.ts';
import { DESIRED, requestForDescriptors } from './node-fixture.ts';

const network = openNodeNetwork(process.env['PATH'] ?? '');
const links = openPodLinks();
const request = requestForDescriptors({ netnsFd: 3, netlinkFd: 4 }, '10.32.0.2');
const made = await network.ensure(DESIRED);
links.attach(request);
const differs = links.inspect(request);
const again = await network.ensure(DESIRED);
const detached = links.detach(request.hostInterface);
network.close();
console.log(JSON.stringify({ made: made.length, differs, again, detached }));
