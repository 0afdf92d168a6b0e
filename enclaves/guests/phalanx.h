/* Guest ABI version 1 for authors of guests in C (docs/guest-abi.md). Header only; no C library is needed.
 *
 * A guest exports `phalanx_call`: () -> i32, 0 for success. Memory is fresh in every call, so static data
 * starts as the module says and nothing is ever freed. Integers in all layouts are little-endian and
 * unaligned, which is what Wasm loads and stores do. */
#ifndef PHALANX_H
#define PHALANX_H

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef unsigned __int128 u128;

#define PH_IMPORT(name) __attribute__((import_module("phalanx"), import_name(name)))
#define PH_EXPORT(name) __attribute__((export_name(name)))

PH_IMPORT("context") void ph_context(void *out);
PH_IMPORT("input") void ph_input(void *out, u32 offset, u32 length);
PH_IMPORT("output") void ph_output(const void *data, u32 length);
PH_IMPORT("state_get") u32 ph_state_get(const void *keys, u32 length, void *out, u32 capacity);
PH_IMPORT("state_set") void ph_state_set(const void *entries, u32 length);
PH_IMPORT("send") void ph_send(const void *messages, u32 length);
PH_IMPORT("emit") void ph_emit(const void *events, u32 length);
PH_IMPORT("blake3") void ph_blake3(const void *items, u32 length, void *digests);
PH_IMPORT("ed25519_verify") void ph_ed25519_verify(const void *items, u32 length, void *verdicts);
PH_IMPORT("abort") __attribute__((noreturn)) void ph_abort(const void *text, u32 length);

#define PH_ABSENT 0xffffffffu
#define PH_FAIL(text) ph_abort(text, sizeof(text) - 1)

enum { PH_ENCLAVE = 1, PH_CHAIN = 2 };
enum { PH_FROM_USER = 1, PH_FROM_CHAIN = 2, PH_FROM_INSTANCE = 3, PH_FROM_RELAY = 4 };
enum { PH_TO_CHAIN = 1, PH_TO_INSTANCE = 2, PH_AT_RELAY = 3 }; /* the last one is a source only */

struct ph_context {
    u32 abi_version, kind;
    u64 height, time_ms;
    u32 chain, origin_kind;
    u8 module[32], origin[32];
    u32 origin_chain, origin_policy, input_length, reserved;
    u64 fuel_limit;
};
_Static_assert(sizeof(struct ph_context) == 120, "the layout of the context");

static inline int ph_equal(const u8 *one, const u8 *other, u32 length) {
    for (u32 i = 0; i < length; i++)
        if (one[i] != other[i]) return 0;
    return 1;
}

static inline u16 ph_u16(const u8 *at) { u16 v; __builtin_memcpy(&v, at, 2); return v; }
static inline u32 ph_u32(const u8 *at) { u32 v; __builtin_memcpy(&v, at, 4); return v; }
static inline u64 ph_u64(const u8 *at) { u64 v; __builtin_memcpy(&v, at, 8); return v; }
static inline u128 ph_u128(const u8 *at) { u128 v; __builtin_memcpy(&v, at, 16); return v; }
static inline void ph_put_u32(u8 *at, u32 v) { __builtin_memcpy(at, &v, 4); }
static inline void ph_put_u64(u8 *at, u64 v) { __builtin_memcpy(at, &v, 8); }
static inline void ph_put_u128(u8 *at, u128 v) { __builtin_memcpy(at, &v, 16); }

#endif
