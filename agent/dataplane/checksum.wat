;; The internet checksum (RFC 1071) over the arena: the sum of 16-bit little-endian words, an odd last byte being the low half of a
;; word. The sum is not folded and not complemented: callers add the sums of several pieces first (checksum-fold.ts). At most 65,535
;; bytes a call, so that the 32-bit result cannot overflow: 32,768 words of at most 0xffff stay below 2^31.
;; 64 bytes a step in two accumulators of four 32-bit lanes; unaligned offsets are fine. Assembled by assemble.ts.
(module
  (import "arena" "memory" (memory 1))
  (func (export "sum") (param $offset i32) (param $length i32) (result i32)
    (local $even v128)
    (local $odd v128)
    (local $end i32)
    (local $sum i32)

    ;; Steps of 64 bytes: pairs of words are widened to 32 bits and added lane by lane.
    (local.set $end (i32.add (local.get $offset) (i32.and (local.get $length) (i32.const -64))))
    (block $done64
      (loop $next64
        (br_if $done64 (i32.ge_u (local.get $offset) (local.get $end)))
        (local.set $even (i32x4.add (local.get $even)
          (i32x4.extadd_pairwise_i16x8_u (v128.load (local.get $offset)))))
        (local.set $odd (i32x4.add (local.get $odd)
          (i32x4.extadd_pairwise_i16x8_u (v128.load offset=16 (local.get $offset)))))
        (local.set $even (i32x4.add (local.get $even)
          (i32x4.extadd_pairwise_i16x8_u (v128.load offset=32 (local.get $offset)))))
        (local.set $odd (i32x4.add (local.get $odd)
          (i32x4.extadd_pairwise_i16x8_u (v128.load offset=48 (local.get $offset)))))
        (local.set $offset (i32.add (local.get $offset) (i32.const 64)))
        (br $next64)))

    ;; Up to three steps of 16 bytes.
    (local.set $end (i32.add (local.get $offset) (i32.and (local.get $length) (i32.const 48))))
    (block $done16
      (loop $next16
        (br_if $done16 (i32.ge_u (local.get $offset) (local.get $end)))
        (local.set $even (i32x4.add (local.get $even)
          (i32x4.extadd_pairwise_i16x8_u (v128.load (local.get $offset)))))
        (local.set $offset (i32.add (local.get $offset) (i32.const 16)))
        (br $next16)))

    (local.set $even (i32x4.add (local.get $even) (local.get $odd)))
    (local.set $sum
      (i32.add
        (i32.add (i32x4.extract_lane 0 (local.get $even)) (i32x4.extract_lane 1 (local.get $even)))
        (i32.add (i32x4.extract_lane 2 (local.get $even)) (i32x4.extract_lane 3 (local.get $even)))))

    ;; Up to seven single words, then an odd byte.
    (local.set $end (i32.add (local.get $offset) (i32.and (local.get $length) (i32.const 14))))
    (block $done2
      (loop $next2
        (br_if $done2 (i32.ge_u (local.get $offset) (local.get $end)))
        (local.set $sum (i32.add (local.get $sum) (i32.load16_u (local.get $offset))))
        (local.set $offset (i32.add (local.get $offset) (i32.const 2)))
        (br $next2)))
    (if (i32.and (local.get $length) (i32.const 1))
      (then (local.set $sum (i32.add (local.get $sum) (i32.load8_u (local.get $offset))))))
    (local.get $sum)))
