// userspace-limit: what a userspace overlay of these system calls reaches in C. One node of two, one peer, IPv4, VXLAN frames as Weft's.
//   userspace-limit TUN NODE_IP PEER_IP
// A yardstick: TUN with offloads, TCP super-packets cut by headers only and sent as UDP_SEGMENT trains, UDP_GRO, runs of one TCP flow
// written as one super-packet, inner checksums computed. It checks nothing that arrives, has no table, no counters and no polling.
// Neither tuned nor slowed: what bench/ says of Weft is worth what this file is.
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
  PORT = 8472,
  OUTER_BYTES = 22,  // VXLAN and Ethernet
  MOST_BYTES = 65535,
  MOST_UDP_BYTES = 65507,
  BUFFER_BYTES = 70000,
  MOST_SEGMENTS = 64,  // of a train: UDP_MAX_SEGMENTS of older kernels
  HEADER_ROOM = 128,
  MOST_PIECES = 256,
  BATCH = 32,  // packets of one direction before the other has its turn
  POLL_MS = 1000,
  SOCKET_BYTES = 8 << 20,
  TCP_FLAGS = 13,
  TCP_CHECKSUM = 16,
  FIN_SYN_RST_PSH = 0x0f,
  FIN_SYN_RST = 0x07,
  PSH = 0x08,
  FIN_PSH = 0x09,
};

static int tun;
static int tunnel;
static uint8_t from_tun[BUFFER_BYTES] __attribute__((aligned(64)));
static uint8_t from_tunnel[BUFFER_BYTES] __attribute__((aligned(64)));
static uint8_t headers[MOST_SEGMENTS * HEADER_ROOM];
static struct iovec send_pieces[MOST_PIECES];
static struct iovec write_pieces[MOST_PIECES];
static uint8_t outer[OUTER_BYTES] = {0x08, 0, 0, 0, 0, 0, 1, 0};  // VNI 1

static uint16_t get16(const uint8_t *at) { return (uint16_t)(at[0] << 8 | at[1]); }
static uint32_t get32(const uint8_t *at) {
  return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}
static void put16(uint8_t *at, unsigned value) {
  at[0] = (uint8_t)(value >> 8);
  at[1] = (uint8_t)value;
}
static void put32(uint8_t *at, uint32_t value) {
  put16(at, value >> 16);
  put16(at + 2, value & 0xffff);
}

/** Adds bytes to a sum of 64-bit words with end-around carry (RFC 1071). */
static uint64_t add_bytes(uint64_t sum, const uint8_t *at, int bytes) {
  uint64_t carries = 0;
  for (; bytes >= 32; at += 32, bytes -= 32) {
    uint64_t words[4];
    memcpy(words, at, sizeof words);
    for (int i = 0; i < 4; i++) {
      sum += words[i];
      carries += sum < words[i];
    }
  }
  for (; bytes >= 8; at += 8, bytes -= 8) {
    uint64_t word;
    memcpy(&word, at, sizeof word);
    sum += word;
    carries += sum < word;
  }
  if (bytes > 0) {
    uint64_t word = 0;
    memcpy(&word, at, (size_t)bytes);
    sum += word;
    carries += sum < word;
  }
  sum += carries;
  return sum < carries ? sum + 1 : sum;
}

static uint16_t fold(uint64_t sum) {
  sum = (sum >> 32) + (sum & 0xffffffff);
  sum = (sum >> 32) + (sum & 0xffffffff);
  uint32_t half = (uint32_t)sum;
  half = (half >> 16) + (half & 0xffff);
  half = (half >> 16) + (half & 0xffff);
  return (uint16_t)half;
}

static void put_checksum(uint8_t *at, uint64_t sum) {
  uint16_t checksum = (uint16_t)~fold(sum);
  memcpy(at, &checksum, sizeof checksum);
}

static void send_train(int pieces, int segment_bytes) {
  static char control[CMSG_SPACE(sizeof(uint16_t))] __attribute__((aligned(8)));
  struct msghdr message = {.msg_iov = send_pieces, .msg_iovlen = (size_t)pieces};
  if (segment_bytes > 0) {
    struct cmsghdr *size = (struct cmsghdr *)control;
    *size = (struct cmsghdr){CMSG_LEN(sizeof(uint16_t)), SOL_UDP, UDP_SEGMENT};
    *(uint16_t *)CMSG_DATA(size) = (uint16_t)segment_bytes;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
  }
  sendmsg(tunnel, &message, MSG_NOSIGNAL);
}

static void send_whole(const struct virtio_net_hdr *offload, uint8_t *packet, int bytes) {
  if (offload->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) {
    uint8_t *start = packet + offload->csum_start;
    put_checksum(start + offload->csum_offset, add_bytes(0, start, bytes - offload->csum_start));
  }
  send_pieces[0] = (struct iovec){outer, OUTER_BYTES};
  send_pieces[1] = (struct iovec){packet, (size_t)bytes};
  send_train(2, 0);
}

/** Cuts a TCP super-packet: each segment has headers of its own, its payload stays where it is. */
static void send_cut(const struct virtio_net_hdr *offload, uint8_t *packet, int bytes) {
  int ip_bytes = (packet[0] & 15) * 4;
  int tcp_bytes = (packet[ip_bytes + 12] >> 4) * 4;
  int header_bytes = ip_bytes + tcp_bytes;
  int payload_bytes = bytes - header_bytes;
  int segment_bytes = OUTER_BYTES + header_bytes + offload->gso_size;
  int most = MOST_UDP_BYTES / segment_bytes;
  if (most > MOST_SEGMENTS) most = MOST_SEGMENTS;
  uint32_t sequence = get32(packet + ip_bytes + 4);
  uint16_t id = get16(packet + 4);
  uint8_t flags = packet[ip_bytes + TCP_FLAGS];
  uint64_t addresses = add_bytes(0, packet + 12, 8);
  int segments = 0;
  int pieces = 0;
  for (int offset = 0; offset < payload_bytes;) {
    int length = payload_bytes - offset < offload->gso_size ? payload_bytes - offset : offload->gso_size;
    int is_last = offset + length >= payload_bytes;
    uint8_t *frame = headers + segments * HEADER_ROOM;
    memcpy(frame, outer, OUTER_BYTES);
    uint8_t *ip = frame + OUTER_BYTES;
    memcpy(ip, packet, (size_t)header_bytes);
    put16(ip + 2, (unsigned)(header_bytes + length));
    put16(ip + 4, id++);
    put16(ip + 10, 0);
    put_checksum(ip + 10, add_bytes(0, ip, ip_bytes));
    uint8_t *tcp = ip + ip_bytes;
    put32(tcp + 4, sequence + (uint32_t)offset);
    tcp[TCP_FLAGS] = is_last ? flags : flags & ~FIN_PSH;
    put16(tcp + TCP_CHECKSUM, 0);
    uint64_t sum = addresses + htons(IPPROTO_TCP) + htons((uint16_t)(tcp_bytes + length));
    sum = fold(add_bytes(sum, tcp, tcp_bytes));
    put_checksum(tcp + TCP_CHECKSUM, sum + fold(add_bytes(0, packet + header_bytes + offset, length)));
    send_pieces[pieces++] = (struct iovec){frame, (size_t)(OUTER_BYTES + header_bytes)};
    send_pieces[pieces++] = (struct iovec){packet + header_bytes + offset, (size_t)length};
    offset += length;
    segments++;
    if (segments < most && !is_last) continue;
    send_train(pieces, segments > 1 ? segment_bytes : 0);
    segments = pieces = 0;
  }
}

/** Returns how many packets there were. */
static int carry_out(void) {
  const struct virtio_net_hdr *offload = (const struct virtio_net_hdr *)from_tun;
  uint8_t *packet = from_tun + sizeof *offload;
  int count = 0;
  for (; count < BATCH; count++) {
    ssize_t bytes = read(tun, from_tun, sizeof from_tun) - (ssize_t)sizeof *offload;
    if (bytes <= 0) break;
    if (packet[0] >> 4 != 4) continue;
    if (offload->gso_type == VIRTIO_NET_HDR_GSO_NONE) send_whole(offload, packet, (int)bytes);
    else send_cut(offload, packet, (int)bytes);
  }
  return count;
}

struct run {
  int pieces;
  int bytes;
  int segments;
  /** Where the next frame begins. */
  int end;
};

/** Adds to the first packet's pieces the payloads of the frames behind it that continue its flow. */
static struct run gather_run(uint8_t *first, struct run run, int received, int frame_bytes) {
  int header_bytes = 20 + (first[32] >> 4) * 4;
  int payload_bytes = run.bytes - header_bytes;
  uint32_t next = get32(first + 24) + (uint32_t)payload_bytes;
  if (payload_bytes <= 0 || first[20 + TCP_FLAGS] & FIN_SYN_RST_PSH) return run;
  while (run.end < received) {
    uint8_t *packet = from_tunnel + run.end + OUTER_BYTES;
    int length = get16(packet + 2) - header_bytes;
    if (packet[9] != IPPROTO_TCP || memcmp(packet + 12, first + 12, 8) || memcmp(packet + 20, first + 20, 4) ||
        get32(packet + 24) != next || memcmp(packet + 28, first + 28, 4) ||
        (packet[32] >> 4) != (first[32] >> 4) || packet[20 + TCP_FLAGS] & FIN_SYN_RST ||
        length > payload_bytes || length <= 0 || run.bytes + length > MOST_BYTES)
      break;
    write_pieces[run.pieces++] = (struct iovec){packet + header_bytes, (size_t)length};
    run.bytes += length;
    run.segments++;
    run.end += received - run.end < frame_bytes ? received - run.end : frame_bytes;
    next += (uint32_t)length;
    first[20 + TCP_FLAGS] |= packet[20 + TCP_FLAGS];
    if (length < payload_bytes || packet[20 + TCP_FLAGS] & PSH) break;
  }
  return run;
}

/** Writes the packet of the frame at `offset`, with those behind it of its flow; returns where the next frame begins. */
static int write_packet(int offset, int received, int frame_bytes) {
  struct virtio_net_hdr offload = {0};
  uint8_t *packet = from_tunnel + offset + OUTER_BYTES;
  int length = received - offset < frame_bytes ? received - offset : frame_bytes;
  struct run run = {.pieces = 2, .bytes = length - OUTER_BYTES, .segments = 1, .end = offset + length};
  int is_tcp = packet[9] == IPPROTO_TCP && packet[0] == 0x45;
  if (is_tcp) run.bytes = get16(packet + 2);
  int first_bytes = run.bytes;
  write_pieces[0] = (struct iovec){&offload, sizeof offload};
  write_pieces[1] = (struct iovec){packet, (size_t)first_bytes};
  if (is_tcp) run = gather_run(packet, run, received, frame_bytes);
  if (run.segments > 1) {
    int header_bytes = 20 + (packet[32] >> 4) * 4;
    put16(packet + 2, (unsigned)run.bytes);
    put16(packet + 10, 0);
    put_checksum(packet + 10, add_bytes(0, packet, 20));
    offload.gso_type = VIRTIO_NET_HDR_GSO_TCPV4;
    offload.hdr_len = (uint16_t)header_bytes;
    offload.gso_size = (uint16_t)(first_bytes - header_bytes);
    offload.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
    offload.csum_start = 20;
    offload.csum_offset = TCP_CHECKSUM;
    uint64_t start = (uint64_t)htons(IPPROTO_TCP) + htons((uint16_t)(run.bytes - 20));
    uint16_t partial = fold(add_bytes(start, packet + 12, 8));
    memcpy(packet + 20 + TCP_CHECKSUM, &partial, sizeof partial);
  }
  writev(tun, write_pieces, run.pieces);
  return run.end;
}

/** Returns how many datagrams, each maybe of several frames, there were. */
static int carry_in(void) {
  static char control[64] __attribute__((aligned(8)));
  int count = 0;
  for (; count < BATCH; count++) {
    struct iovec room = {from_tunnel, MOST_BYTES};
    struct msghdr message = {
        .msg_iov = &room, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    int received = (int)recvmsg(tunnel, &message, MSG_DONTWAIT);
    if (received <= 0) break;
    struct cmsghdr *size = CMSG_FIRSTHDR(&message);
    int is_train = size != NULL && size->cmsg_level == SOL_UDP && size->cmsg_type == UDP_GRO;
    int frame_bytes = is_train ? *(int *)CMSG_DATA(size) : received;
    for (int offset = 0; offset < received;) offset = write_packet(offset, received, frame_bytes);
  }
  return count;
}

static void check(int result, const char *action) {
  if (result >= 0) return;
  fprintf(stderr, "userspace-limit: cannot %s: %s\n", action, strerror(errno));
  exit(1);
}

static void open_tun(const char *name) {
  struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR};
  strncpy(request.ifr_name, name, IFNAMSIZ - 1);
  check(tun = open("/dev/net/tun", O_RDWR | O_NONBLOCK), "open /dev/net/tun");
  check(ioctl(tun, TUNSETIFF, &request), "make the TUN device");
  check(ioctl(tun, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6), "set offloads");
}

static void open_tunnel(const char *node, const char *peer) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(PORT)};
  int bytes = SOCKET_BYTES;
  int on = 1;
  check(tunnel = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0), "make a socket");
  check(setsockopt(tunnel, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes), "size the receive queue");
  check(setsockopt(tunnel, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof bytes), "size the send queue");
  check(setsockopt(tunnel, SOL_UDP, UDP_GRO, &on, sizeof on), "receive trains");
  check(inet_aton(node, &address.sin_addr) - 1, "read the node's address");
  check(bind(tunnel, (struct sockaddr *)&address, sizeof address), "bind");
  memcpy(outer + 16, &address.sin_addr, 4);  // inner source MAC 0e:00:<node>, destination 0e:00:<peer>
  check(inet_aton(peer, &address.sin_addr) - 1, "read the peer's address");
  check(connect(tunnel, (struct sockaddr *)&address, sizeof address), "connect");
  memcpy(outer + 10, &address.sin_addr, 4);
}

int main(int count, char **words) {
  if (count != 4) {
    fprintf(stderr, "usage: userspace-limit TUN NODE_IP PEER_IP\n");
    return 1;
  }
  open_tun(words[1]);
  open_tunnel(words[2], words[3]);
  outer[8] = outer[14] = 0x0e;
  put16(outer + 20, 0x0800);
  struct pollfd ready[] = {{tun, POLLIN, 0}, {tunnel, POLLIN, 0}};
  for (;;) {
    if (carry_out() + carry_in() == 0) poll(ready, 2, POLL_MS);
  }
}
