/* `agora`: the example consumer chain. Accounts with signed, nonce-protected transactions, a key-value store,
 * a two-way peg of its own units with its instance of `assets`, and slashes that the relay chain tells of.
 *
 * State (keys: a tag and the rest)
 *   'd'                  32 bytes that every signature binds: the chain's domain
 *   'm'                  module id of the `assets` enclave it trusts; absent: no exports
 *   'e'                  u128: units locked because they exist as an asset
 *   's'                  u64: number of the next export
 *   'a' account          u128 balance, u64 nonce (next expected)
 *   'k' account key…     value that the account put
 *   'x' number u64       an export: account 32, amount u128, u8 state (0 pending, 1 done, 2 refunded)
 *   'w' 'r' 'q' 'n' 'p' 'v'    slashes: slashes.h
 *
 * Input and output: docs/guest-abi.md ("a chain's block") and agora.py. A bad transaction or message has a code of
 * its own in the output and no effect; it never fails the block. Balances + locked units = genesis issuance. */
#define PH_CELLS 32768
#define PH_CELL_VALUE 104
#include "cells.h"

enum { TRANSFER = 1, PUT, EXPORT, CHALLENGE };
enum {
    OK, MALFORMED, BAD_SIGNATURE, BAD_NONCE, NO_FUNDS, UNKNOWN_SOURCE, UNKNOWN_REPLY, OVERFLOW, NO_ENCLAVE,
    TOO_MANY, FROZEN, NO_SLASH, OTHER_PROOF, PROOF_HOLDS,
};
enum { REPLY_NOTICE = 1, CREDIT_NOTICE = 2 }; /* from assets */
enum { ASSETS_ISSUE = 6 };
enum { PENDING, DONE, REFUNDED };

#define MAX_INPUT (2 * 1024 * 1024)
#define MAX_MESSAGES 4096
#define MAX_TRANSACTIONS 6144
#define MAX_EXPORTS 256
#define HEAD_BYTES 41 /* kind, sender, nonce */
#define SIGNATURE_BYTES 64
#define TAG "agora/tx/1"
#define TAG_BYTES 10
#define ISSUE_BYTES (8 + 4 + 74)

static struct ph_context ctx;
static u8 input[MAX_INPUT];
static u8 claims[4 + MAX_INPUT + MAX_TRANSACTIONS * 144];
static u8 verdicts[MAX_TRANSACTIONS];
static u8 output[8 + MAX_MESSAGES + MAX_TRANSACTIONS];
static const u8 *transactions[MAX_TRANSACTIONS], *messages[MAX_MESSAGES];
static u32 transaction_bytes[MAX_TRANSACTIONS], message_bytes[MAX_MESSAGES];
static u8 exports[4 + MAX_EXPORTS * (41 + ISSUE_BYTES)];
static u32 export_count, exports_length = 4;
static struct ph_cell *domain, *enclave, *locked, *next_export;

#include "slashes.h"

static struct ph_cell *account(const u8 *key) { return ph_cell('a', key, 32); }

static int credit(struct ph_cell *cell, u128 amount) {
    u128 sum = ph_amount(cell) + amount;
    if (sum < amount) return 0;
    if (cell->value_length == 0 && cell->key[0] == 'a') cell->value_length = 24;
    ph_set_amount(cell, sum);
    return 1;
}

static int debit(struct ph_cell *cell, u128 amount) {
    u128 have = ph_amount(cell);
    if (have < amount) return 0;
    ph_set_amount(cell, have - amount);
    return 1;
}

/* --- reading the block */

static const u8 *read_list(const u8 *at, const u8 *end, const u8 **items, u32 *sizes, u32 limit, u32 *count) {
    if (end - at < 4) PH_FAIL("the input ends inside a list");
    *count = ph_u32(at);
    if (*count > limit) PH_FAIL("the input has too many items");
    at += 4;
    for (u32 i = 0; i < *count; i++) {
        if (end - at < 4) PH_FAIL("the input ends inside a list");
        u32 size = ph_u32(at);
        at += 4;
        if (size > (u32)(end - at)) PH_FAIL("the input ends inside an item");
        items[i] = at;
        sizes[i] = size;
        at += size;
    }
    return at;
}

static int well_formed(const u8 *tx, u32 size) {
    if (size < HEAD_BYTES + SIGNATURE_BYTES) return 0;
    u32 body = size - HEAD_BYTES - SIGNATURE_BYTES;
    if (tx[0] == TRANSFER || tx[0] == EXPORT) return body == 48;
    if (tx[0] == CHALLENGE) return body == CHALLENGE_BYTES;
    if (tx[0] != PUT || body < 4) return 0;
    u32 key = ph_u16(tx + HEAD_BYTES), value = ph_u16(tx + HEAD_BYTES + 2);
    return key >= 1 && key <= 64 && value <= 1024 && body == 4 + key + value;
}

static void name_cells(u32 message_count, u32 transaction_count) {
    domain = ph_cell('d', 0, 0);
    enclave = ph_cell('m', 0, 0);
    locked = ph_cell('e', 0, 0);
    next_export = ph_cell('s', 0, 0);
    name_slashes();
    for (u32 i = 0; i < message_count; i++) {
        const u8 *payload = messages[i] + 37;
        if (message_bytes[i] >= 37 && messages[i][0] == PH_AT_RELAY) {
            if (is_slash(payload, message_bytes[i] - 37)) name_slash(payload + 9, payload + 73);
            continue;
        }
        if (message_bytes[i] == 37 + 10 && payload[0] == REPLY_NOTICE) ph_cell('x', payload + 1, 8);
        if (message_bytes[i] == 37 + 81 && payload[0] == CREDIT_NOTICE) account(payload + 33);
    }
    for (u32 i = 0; i < transaction_count; i++) {
        const u8 *tx = transactions[i];
        if (!well_formed(tx, transaction_bytes[i])) continue;
        account(tx + 1);
        frozen(tx + 1);
        if (tx[0] == TRANSFER) account(tx + HEAD_BYTES);
        if (tx[0] == CHALLENGE) name_slash(tx + HEAD_BYTES, tx + HEAD_BYTES + 32);
    }
    ph_load();
    if (domain->value_length != 32) PH_FAIL("the chain has no domain in its state");
    u32 loaded = ph_cell_count; /* a refund goes to an account that only the export's record names */
    for (u32 i = 0; i < loaded; i++)
        if (ph_cells[i].key[0] == 'x' && ph_cells[i].value_length == 49) account(ph_cells[i].value);
    name_due();
    ph_load();
    name_due_slashes();
    ph_load();
}

/* --- inbox */

static int is_own_asset(const u8 *asset) {
    static u8 id[32], known;
    if (!known) {
        u8 item[68] = {1, 0, 0, 0, 60, 0, 0, 0};
        __builtin_memcpy(item + 8, "phalanx/asset/1", 15);
        item[23] = PH_FROM_CHAIN;
        ph_put_u32(item + 56, ctx.chain); /* zero issuer before it, salt 0 after it */
        ph_blake3(item, sizeof item, id);
        known = 1;
    }
    return ph_equal(asset, id, 32);
}

static u32 settle(const u8 *payload) {
    struct ph_cell *export = ph_cell('x', payload + 1, 8);
    if (export->value_length != 49 || export->value[48] != PENDING) return UNKNOWN_REPLY;
    export->changed = 1;
    export->value[48] = DONE;
    if (payload[9] == 0) return OK;
    export->value[48] = REFUNDED;
    u128 amount = ph_u128(export->value + 32);
    return debit(locked, amount) && credit(account(export->value), amount) ? OK : OVERFLOW;
}

static u32 receive(const u8 *message, u32 size) {
    if (size >= 37 && message[0] == PH_AT_RELAY) return notice(message + 37, size - 37);
    if (size < 37 || message[0] != PH_TO_INSTANCE || ph_u32(message + 33) != ctx.chain
        || enclave->value_length != 32 || !ph_equal(message + 1, enclave->value, 32))
        return UNKNOWN_SOURCE;
    const u8 *payload = message + 37;
    if (size == 37 + 10 && payload[0] == REPLY_NOTICE) return settle(payload);
    if (size != 37 + 81 || payload[0] != CREDIT_NOTICE || !is_own_asset(payload + 1)) return MALFORMED;
    u128 amount = ph_u128(payload + 65);
    if (!debit(locked, amount)) return NO_FUNDS;
    return credit(account(payload + 33), amount) ? OK : OVERFLOW;
}

/* --- transactions */

static void verify_all(u32 count) {
    u32 length = 4, items = 0;
    for (u32 i = 0; i < count; i++) {
        if (!well_formed(transactions[i], transaction_bytes[i])) continue;
        u32 body = transaction_bytes[i] - SIGNATURE_BYTES;
        u8 *at = claims + length;
        __builtin_memcpy(at, transactions[i] + 1, 32);
        __builtin_memcpy(at + 32, transactions[i] + body, 64);
        ph_put_u32(at + 96, TAG_BYTES + 32 + body);
        __builtin_memcpy(at + 100, TAG, TAG_BYTES);
        __builtin_memcpy(at + 110, domain->value, 32);
        __builtin_memcpy(at + 142, transactions[i], body);
        length += 142 + body;
        items++;
    }
    ph_put_u32(claims, items);
    if (items) ph_ed25519_verify(claims, length, verdicts);
}

static u32 export_units(struct ph_cell *sender, const u8 *body) {
    u128 amount = ph_u128(body + 32);
    if (enclave->value_length != 32) return NO_ENCLAVE;
    if (export_count == MAX_EXPORTS) return TOO_MANY;
    if (!amount || !debit(sender, amount)) return NO_FUNDS;
    if (!credit(locked, amount)) return OVERFLOW;
    u64 number = next_export->value_length ? ph_u64(next_export->value) : 0;
    ph_put_u64(next_export->value, number + 1);
    next_export->value_length = 8;
    next_export->changed = 1;
    u8 record[49] = {0}, key[9] = {'x'};
    ph_put_u64(key + 1, number);
    __builtin_memcpy(record, sender->key + 1, 32);
    ph_put_u128(record + 32, amount);
    ph_write(key, sizeof key, record, sizeof record);
    u8 *at = exports + exports_length;
    at[0] = PH_TO_INSTANCE;
    __builtin_memcpy(at + 1, enclave->value, 32);
    ph_put_u32(at + 33, ctx.chain);
    ph_put_u32(at + 37, ISSUE_BYTES);
    at += 41;
    ph_put_u64(at, number);
    ph_put_u32(at + 8, 1);
    at[12] = ASSETS_ISSUE; /* then salt 0 and decimals 0 */
    __builtin_memcpy(at + 22, "AGORA", 5);
    __builtin_memcpy(at + 38, body, 32);
    ph_put_u128(at + 70, amount);
    exports_length += 41 + ISSUE_BYTES;
    export_count++;
    return OK;
}

static void put(const u8 *sender, const u8 *body) {
    u8 key[1 + 32 + 64] = {'k'};
    u32 length = ph_u16(body);
    __builtin_memcpy(key + 1, sender, 32);
    __builtin_memcpy(key + 33, body + 4, length);
    ph_write(key, 33 + length, body + 4 + length, ph_u16(body + 2));
}

static u32 apply(const u8 *tx) {
    struct ph_cell *sender = account(tx + 1);
    const u8 *body = tx + HEAD_BYTES;
    if (is_frozen(tx + 1)) return FROZEN;
    u64 nonce = sender->value_length ? ph_u64(sender->value + 16) : 0;
    if (ph_u64(tx + 33) != nonce) return BAD_NONCE;
    ph_put_u64(sender->value + 16, nonce + 1);
    sender->value_length = 24;
    sender->changed = 1;
    if (tx[0] == EXPORT) return export_units(sender, body);
    if (tx[0] == CHALLENGE) return challenge(body);
    if (tx[0] == PUT) {
        put(tx + 1, body);
        return OK;
    }
    u128 amount = ph_u128(body + 32);
    if (!debit(sender, amount)) return NO_FUNDS;
    return credit(account(body), amount) ? OK : OVERFLOW;
}

PH_EXPORT("phalanx_call") u32 phalanx_call(void) {
    u32 message_count, transaction_count, checked = 0;
    ph_context(&ctx);
    if (ctx.kind != PH_CHAIN || ctx.input_length > MAX_INPUT) PH_FAIL("not a block of a chain");
    ph_input(input, 0, ctx.input_length);
    const u8 *end = input + ctx.input_length, *at = input;
    at = read_list(at, end, messages, message_bytes, MAX_MESSAGES, &message_count);
    at = read_list(at, end, transactions, transaction_bytes, MAX_TRANSACTIONS, &transaction_count);
    if (at != end) PH_FAIL("bytes after the transactions");
    name_cells(message_count, transaction_count);
    verify_all(transaction_count);
    act_on_due();
    ph_put_u32(output, message_count);
    u8 *codes = output + 4;
    for (u32 i = 0; i < message_count; i++) *codes++ = (u8)receive(messages[i], message_bytes[i]);
    ph_put_u32(codes, transaction_count);
    codes += 4;
    for (u32 i = 0; i < transaction_count; i++) {
        if (!well_formed(transactions[i], transaction_bytes[i])) *codes++ = MALFORMED;
        else *codes++ = (u8)(verdicts[checked++] ? apply(transactions[i]) : BAD_SIGNATURE);
    }
    ph_store();
    ph_put_u32(exports, export_count);
    if (export_count) ph_send(exports, exports_length);
    ph_output(output, (u32)(codes - output));
    return 0;
}
