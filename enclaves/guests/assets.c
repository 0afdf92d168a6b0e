/* `assets`: fungible assets. One instance a chain and a shared one; units travel between instances in
 * messages that only this code can send and receive, so a chain trusts no other chain's word for a balance.
 *
 * State of an instance (keys: a tag and 32 or 64 bytes)
 *   'a' asset            issuer kind u8, issuer 32, issuer chain u32, decimals u8, symbol 16, supply u128
 *                        on the home instance only; supply counts units everywhere and in flight
 *   't' asset            u128: sum of this instance's balances in the asset
 *   'b' asset holder     u128 balance
 *
 * A user's call is a batch of operations; one that fails fails the call. A chain's call is a correlation
 * number and a batch; it is all or nothing and always answered, so the call itself succeeds. Another
 * instance of this module sends credits. Layouts: assets.py. */
#include "cells.h"

enum { CREATE = 1, MINT, TRANSFER, SEND, REDEEM, ISSUE };
enum { CREDIT_MESSAGE = 1 };                 /* between instances */
enum { REPLY_NOTICE = 1, CREDIT_NOTICE = 2 }; /* to the chain */
enum {
    OK, MALFORMED, NOT_SERVED, EXISTS, UNKNOWN_ASSET, NOT_ISSUER, NO_FUNDS, OVERFLOW, ZERO_AMOUNT,
    SAME_CHAIN, TOO_MANY,
};

#define MAX_INPUT (512 * 1024)
#define MAX_OPERATIONS 4096
#define MAX_SENT 250 /* below the ABI's 256: a reply may follow */
#define RECORD_BYTES 70
#define SUPPLY_AT 54
#define ID_BYTES 60

static struct ph_context ctx;
static u8 input[MAX_INPUT];
static u8 preimages[4 + MAX_OPERATIONS * (4 + ID_BYTES)];
static u8 made_ids[MAX_OPERATIONS * 32];
static u8 outbox[4 + 256 * (41 + 96)];
static u32 outbox_length = 4, sent;
static u8 holder[32];

/* --- leaving messages */

static u8 *message(u8 kind, u32 chain, u32 length) {
    u8 *at = outbox + outbox_length;
    at[0] = kind;
    if (kind == PH_TO_INSTANCE) __builtin_memcpy(at + 1, ctx.module, 32);
    ph_put_u32(at + 33, chain);
    ph_put_u32(at + 37, length);
    outbox_length += 41 + length;
    sent++;
    return at + 41;
}

static void send_all(void) {
    ph_put_u32(outbox, sent);
    if (sent) ph_send(outbox, outbox_length);
}

static void reply(u64 correlation, u32 code) {
    u8 *at = message(PH_TO_CHAIN, ctx.chain, 10);
    at[0] = REPLY_NOTICE;
    ph_put_u64(at + 1, correlation);
    at[9] = (u8)code;
}

/* --- cells */

static struct ph_cell *record_of(const u8 *asset) { return ph_cell('a', asset, 32); }
static struct ph_cell *total_of(const u8 *asset) { return ph_cell('t', asset, 32); }

static struct ph_cell *balance_of(const u8 *asset, const u8 *who) {
    u8 key[64];
    __builtin_memcpy(key, asset, 32);
    __builtin_memcpy(key + 32, who, 32);
    return ph_cell('b', key, 64);
}

static int debit(struct ph_cell *cell, u128 amount) {
    u128 have = ph_amount(cell);
    if (have < amount) return 0;
    ph_set_amount(cell, have - amount);
    return 1;
}

static int credit(struct ph_cell *cell, u128 amount) {
    u128 sum = ph_amount(cell) + amount;
    if (sum < amount) return 0;
    ph_set_amount(cell, sum);
    return 1;
}

static int is_issuer(const struct ph_cell *record) {
    const u8 *value = record->value;
    return value[0] == ctx.origin_kind && ph_equal(value + 1, ctx.origin, 32)
        && ph_u32(value + 33) == ctx.origin_chain;
}

/* --- operations: sizes, first pass (which cells), second pass (what happens) */

static u32 body_bytes(u8 op) {
    switch (op) {
    case CREATE: return 25;
    case MINT: case TRANSFER: case REDEEM: return 80;
    case SEND: return 84;
    case ISSUE: return 73;
    default: return 0;
    }
}

static void preimage(u8 *at, const u8 *salt) {
    ph_put_u32(at, ID_BYTES);
    __builtin_memcpy(at + 4, "phalanx/asset/1", 15);
    at[19] = (u8)ctx.origin_kind;
    __builtin_memcpy(at + 20, ctx.origin, 32);
    ph_put_u32(at + 52, ctx.chain);
    __builtin_memcpy(at + 56, salt, 8);
}

/* Checks the shape of the batch, makes the ids of new assets, and names every cell. */
static u32 survey(const u8 *at, const u8 *end, u32 count) {
    u32 made = 0;
    if (count > MAX_OPERATIONS) return TOO_MANY;
    const u8 *scan = at;
    for (u32 i = 0; i < count; i++) {
        u32 size = scan < end ? body_bytes(*scan) : 0;
        if (!size || size > (u32)(end - scan) - 1) return MALFORMED;
        if (*scan == CREATE || *scan == ISSUE) preimage(preimages + 4 + made++ * (4 + ID_BYTES), scan + 1);
        scan += 1 + size;
    }
    if (scan != end) return MALFORMED;
    ph_put_u32(preimages, made);
    if (made) ph_blake3(preimages, 4 + made * (4 + ID_BYTES), made_ids);
    made = 0;
    for (u32 i = 0; i < count; i++, at += 1 + body_bytes(*at)) {
        const u8 *asset = at + 1;
        if (*at == CREATE || *at == ISSUE) asset = made_ids + 32 * made++;
        if (*at != TRANSFER && *at != SEND) record_of(asset);
        if (*at != TRANSFER && *at != CREATE) total_of(asset);
        if (*at == TRANSFER || *at == SEND || *at == REDEEM) balance_of(asset, holder);
        if (*at == TRANSFER || *at == MINT) balance_of(asset, at + 33);
        if (*at == ISSUE) balance_of(asset, at + 26);
    }
    return OK;
}

static u32 create(const u8 *asset, const u8 *terms) {
    struct ph_cell *record = record_of(asset);
    if (record->value_length) return EXISTS;
    record->value[0] = (u8)ctx.origin_kind;
    __builtin_memcpy(record->value + 1, ctx.origin, 32);
    ph_put_u32(record->value + 33, ctx.origin_chain);
    __builtin_memcpy(record->value + 37, terms, 17); /* decimals, symbol */
    ph_put_u128(record->value + SUPPLY_AT, 0);
    record->value_length = RECORD_BYTES;
    record->changed = 1;
    return OK;
}

static u32 mint(const u8 *asset, const u8 *to, u128 amount) {
    struct ph_cell *record = record_of(asset);
    if (!record->value_length) return UNKNOWN_ASSET;
    if (!is_issuer(record)) return NOT_ISSUER;
    u128 supply = ph_u128(record->value + SUPPLY_AT) + amount;
    if (supply < amount) return OVERFLOW;
    ph_put_u128(record->value + SUPPLY_AT, supply);
    record->changed = 1;
    if (!credit(total_of(asset), amount) || !credit(balance_of(asset, to), amount)) return OVERFLOW;
    return OK;
}

static u32 send_units(const u8 *asset, const u8 *to, u128 amount, u32 chain) {
    if (chain == ctx.chain) return SAME_CHAIN;
    if (sent == MAX_SENT) return TOO_MANY;
    if (!debit(balance_of(asset, holder), amount) || !debit(total_of(asset), amount)) return NO_FUNDS;
    u8 *at = message(PH_TO_INSTANCE, chain, 81);
    at[0] = CREDIT_MESSAGE;
    __builtin_memcpy(at + 1, asset, 32);
    __builtin_memcpy(at + 33, to, 32);
    ph_put_u128(at + 65, amount);
    return OK;
}

static u32 redeem(const u8 *asset, const u8 *beneficiary, u128 amount) {
    struct ph_cell *record = record_of(asset);
    if (!record->value_length || record->value[0] != PH_FROM_CHAIN) return UNKNOWN_ASSET;
    if (sent == MAX_SENT) return TOO_MANY;
    if (!debit(balance_of(asset, holder), amount) || !debit(total_of(asset), amount)) return NO_FUNDS;
    ph_put_u128(record->value + SUPPLY_AT, ph_u128(record->value + SUPPLY_AT) - amount);
    record->changed = 1;
    u8 *at = message(PH_TO_CHAIN, ctx.chain, 81);
    at[0] = CREDIT_NOTICE;
    __builtin_memcpy(at + 1, asset, 32);
    __builtin_memcpy(at + 33, beneficiary, 32);
    ph_put_u128(at + 65, amount);
    return OK;
}

static u32 apply_one(const u8 *at, const u8 *made_id) {
    if (*at == CREATE) return create(made_id, at + 9);
    u128 amount = ph_u128(*at == ISSUE ? at + 58 : at + 65);
    if (!amount) return ZERO_AMOUNT;
    switch (*at) {
    case MINT: return mint(at + 1, at + 33, amount);
    case TRANSFER:
        if (!debit(balance_of(at + 1, holder), amount)) return NO_FUNDS;
        return credit(balance_of(at + 1, at + 33), amount) ? OK : OVERFLOW;
    case SEND: return send_units(at + 1, at + 33, amount, ph_u32(at + 81));
    case REDEEM: return redeem(at + 1, at + 33, amount);
    default: /* ISSUE; that it exists is no fault, that it is another's is */
        create(made_id, at + 9);
        return mint(made_id, at + 26, amount);
    }
}

static u32 run_batch(const u8 *at, const u8 *end) {
    if (end - at < 4) return MALFORMED;
    u32 count = ph_u32(at), made = 0;
    at += 4;
    u32 code = survey(at, end, count);
    if (code != OK) return code;
    ph_load();
    for (u32 i = 0; i < count && code == OK; i++, at += 1 + body_bytes(*at))
        code = apply_one(at, made_ids + 32 * (*at == CREATE || *at == ISSUE ? made++ : 0));
    return code;
}

static u32 receive_credit(const u8 *at, u32 length) {
    if (length != 81 || *at != CREDIT_MESSAGE) return MALFORMED;
    struct ph_cell *total = total_of(at + 1), *balance = balance_of(at + 1, at + 33);
    ph_load();
    u128 amount = ph_u128(at + 65);
    return credit(total, amount) && credit(balance, amount) ? OK : OVERFLOW;
}

PH_EXPORT("phalanx_call") u32 phalanx_call(void) {
    ph_context(&ctx);
    if (ctx.input_length > MAX_INPUT) return TOO_MANY;
    ph_input(input, 0, ctx.input_length);
    const u8 *end = input + ctx.input_length;
    u32 code;
    if (ctx.origin_kind == PH_FROM_USER) {
        __builtin_memcpy(holder, ctx.origin, 32);
        code = run_batch(input, end);
        if (code == OK) {
            ph_store();
            send_all();
        }
        return code;
    }
    if (ctx.origin_kind == PH_FROM_CHAIN && ctx.origin_chain == ctx.chain) {
        if (ctx.input_length < 8) return MALFORMED;
        __builtin_memcpy(holder, "phalanx:chain", 13);
        ph_put_u32(holder + 28, ctx.chain);
        code = run_batch(input + 8, end);
        if (code == OK) ph_store();
        else outbox_length = 4, sent = 0;
        reply(ph_u64(input), code);
        send_all();
        return OK;
    }
    if (ctx.origin_kind == PH_FROM_INSTANCE && ph_equal(ctx.origin, ctx.module, 32)) {
        code = receive_credit(input, ctx.input_length);
        if (code == OK) ph_store();
        return code;
    }
    return NOT_SERVED;
}
