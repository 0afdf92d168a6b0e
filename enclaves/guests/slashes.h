/* Slashes that the relay chain tells `agora` of, each held for a window in which it can be challenged.
 *
 * State (keys: a tag and the rest)
 *   'w'                      u64: the window, ms of the chain's time; absent: none
 *   'r'                      newest set: u64 epoch, root 32; u64 number of the next slash, digest 32 of all
 *                            so far, u64 slashes that were never received
 *   'n' account epoch u64    a slash: consensus key 32, fault 32, u128 amount, u64 due, u64 number, u8 offence,
 *                            u8 state (0 pending, 1 in effect, 2 refuted, 3 lifted)
 *   'q'                      u64 first, u64 next: what waits to take effect
 *   'p' index u64            there: account 32, u64 epoch, u64 due
 *   'v' account              u32: its slashes that are in effect; any of them freezes it
 *
 * A challenge names a slash and brings the bytes that its notice's fault is the hash of: two votes in fixed
 * widths (docs/guest-abi.md section 9). If they do not convict the key of the notice, the slash is refuted and
 * takes no effect. A slash that names no fault rests on a verdict or a record: only the relay chain lifts it. */
#ifndef AGORA_SLASHES_H
#define AGORA_SLASHES_H

enum { NOTICE_SLASH = 1, NOTICE_SET, NOTICE_LIFTED };
enum { SLASH_PENDING, SLASH_IN_EFFECT, SLASH_REFUTED, SLASH_LIFTED };
enum { VOTE_PROPOSE = 1, VOTE_NOTARIZE, VOTE_SKIP, VOTE_NFALL, VOTE_SFALL, VOTE_FINALIZE };

#define SLASH_NOTICE_BYTES 174
#define SET_NOTICE_BYTES 126 /* and 40 a member */
#define SLASH_BYTES 98
#define RELAY_BYTES 88
#define VOTE_BYTES 126
#define FAULT_BYTES (32 + 2 * (SIGNATURE_BYTES + VOTE_BYTES))
#define CHALLENGE_BYTES (40 + FAULT_BYTES)
#define MAX_DUE 32 /* slashes that take effect in one block */
#define VOTE_DOMAIN "TALLY/vote/1"
#define FAULT_DOMAIN "PHALANX/fault/1"

static struct ph_cell *window, *relay, *due_queue;
static struct ph_cell *due[MAX_DUE];
static u32 due_count;

static struct ph_cell *frozen(const u8 *account) { return ph_cell('v', account, 32); }

static int is_frozen(const u8 *account) {
    struct ph_cell *cell = frozen(account);
    return cell->value_length == 4 && ph_u32(cell->value);
}

static void count_frozen(const u8 *account, u32 change) {
    struct ph_cell *cell = frozen(account);
    ph_put_u32(cell->value, (cell->value_length ? ph_u32(cell->value) : 0) + change);
    cell->value_length = 4;
    cell->changed = 1;
}

static struct ph_cell *slash_of(const u8 *account, const u8 *epoch) {
    u8 key[40];
    __builtin_memcpy(key, account, 32);
    __builtin_memcpy(key + 32, epoch, 8);
    return ph_cell('n', key, 40);
}

static struct ph_cell *waiting(u64 index) {
    u8 key[8];
    ph_put_u64(key, index);
    return ph_cell('p', key, 8);
}

static int is_slash(const u8 *payload, u32 size) {
    return size == SLASH_NOTICE_BYTES && (payload[0] == NOTICE_SLASH || payload[0] == NOTICE_LIFTED);
}

/* --- naming what a block may touch */

static void name_slashes(void) {
    window = ph_cell('w', 0, 0);
    relay = ph_cell('r', 0, 0);
    due_queue = ph_cell('q', 0, 0);
}

static void name_slash(const u8 *account, const u8 *epoch) {
    slash_of(account, epoch);
    frozen(account);
}

static u64 queue_first(void) { return due_queue->value_length ? ph_u64(due_queue->value) : 0; }
static u64 queue_next(void) { return due_queue->value_length ? ph_u64(due_queue->value + 8) : 0; }

static void set_queue(u64 first, u64 next) {
    ph_put_u64(due_queue->value, first);
    ph_put_u64(due_queue->value + 8, next);
    due_queue->value_length = 16;
    due_queue->changed = 1;
}

static void name_due(void) {
    u64 first = queue_first(), next = queue_next();
    for (; due_count < MAX_DUE && first + due_count < next; due_count++) due[due_count] = waiting(first + due_count);
}

static void name_due_slashes(void) {
    for (u32 i = 0; i < due_count; i++) name_slash(due[i]->value, due[i]->value + 32);
}

/* --- taking effect */

/* Before anything else in a block: slashes whose window is over. */
static void act_on_due(void) {
    u32 done = 0;
    for (; done < due_count && ph_u64(due[done]->value + 40) <= ctx.time_ms; done++) {
        const u8 *account = due[done]->value;
        struct ph_cell *slash = slash_of(account, account + 32);
        if (slash->value[97] != SLASH_PENDING || ph_u64(slash->value + 80) > ctx.time_ms) continue;
        slash->changed = 1;
        slash->value[97] = ph_u128(slash->value + 64) ? SLASH_IN_EFFECT : SLASH_LIFTED;
        if (slash->value[97] == SLASH_IN_EFFECT) count_frozen(account, 1);
    }
    if (done) set_queue(queue_first() + done, queue_next());
}

/* --- notices */

static void note_number(u64 number, u64 next, const u8 *digest) {
    u8 *at = relay->value;
    if (relay->value_length && number > ph_u64(at + 40)) ph_put_u64(at + 80, ph_u64(at + 80) + number - ph_u64(at + 40));
    ph_put_u64(at + 40, next);
    __builtin_memcpy(at + 48, digest, 32);
    relay->value_length = RELAY_BYTES;
    relay->changed = 1;
}

static u32 lift(struct ph_cell *slash, const u8 *account, u128 amount) {
    if (slash->value_length != SLASH_BYTES) return NO_SLASH;
    u128 held = ph_u128(slash->value + 64);
    held = held > amount ? held - amount : 0;
    ph_put_u128(slash->value + 64, held);
    slash->changed = 1;
    if (held) return OK;
    if (slash->value[97] == SLASH_IN_EFFECT) count_frozen(account, -1u);
    slash->value[97] = SLASH_LIFTED;
    return OK;
}

/* What one validator did in one epoch is one slash: a further notice adds to it, and opens its window anew
 * unless it is in effect already. */
static u32 slash(const u8 *payload) {
    static const u8 none[32];
    struct ph_cell *cell = slash_of(payload + 9, payload + 73);
    u128 amount = ph_u128(payload + 86);
    if (payload[0] == NOTICE_LIFTED) return lift(cell, payload + 9, amount);
    u128 held = cell->value_length ? ph_u128(cell->value + 64) : 0;
    if (held + amount < held) return OVERFLOW;
    __builtin_memcpy(cell->value, payload + 41, 32);
    if (!ph_equal(payload + 110, none, 32)) __builtin_memcpy(cell->value + 32, payload + 110, 32);
    ph_put_u128(cell->value + 64, held + amount);
    __builtin_memcpy(cell->value + 88, payload + 1, 8);
    cell->value[96] = payload[81];
    cell->changed = 1;
    if (cell->value_length && cell->value[97] == SLASH_IN_EFFECT) return OK;
    cell->value_length = SLASH_BYTES;
    cell->value[97] = SLASH_PENDING;
    u64 until = ctx.time_ms + (window->value_length == 8 ? ph_u64(window->value) : 0);
    ph_put_u64(cell->value + 80, until);
    u64 next = queue_next();
    struct ph_cell *entry = waiting(next);
    __builtin_memcpy(entry->value, payload + 9, 32);
    __builtin_memcpy(entry->value + 32, payload + 73, 8);
    ph_put_u64(entry->value + 40, until);
    entry->value_length = 48;
    entry->changed = 1;
    set_queue(queue_first(), next + 1);
    return OK;
}

static u32 notice(const u8 *payload, u32 size) {
    if (is_slash(payload, size)) {
        note_number(ph_u64(payload + 1), ph_u64(payload + 1) + 1, payload + 142);
        return slash(payload);
    }
    if (size < SET_NOTICE_BYTES || payload[0] != NOTICE_SET) return MALFORMED;
    if (size != SET_NOTICE_BYTES + 40 * (u32)ph_u16(payload + 124)) return MALFORMED;
    note_number(ph_u64(payload + 49), ph_u64(payload + 49), payload + 57);
    __builtin_memcpy(relay->value, payload + 1, 8);
    __builtin_memcpy(relay->value + 8, payload + 17, 32);
    return OK;
}

/* --- challenges */

/* The first vote that a vote declares: 1 for a block, 2 to skip, 0 none (CONSENSUS.md section 17.1). */
static int declares(const u8 *vote, const u8 **block) {
    static const u8 none[32];
    *block = vote + 62;
    switch (vote[45]) {
    case VOTE_NOTARIZE:
    case VOTE_SFALL: return 1;
    case VOTE_SKIP: *block = none; return 2;
    case VOTE_NFALL:
        *block = vote + 94;
        return ph_equal(vote + 94, none, 32) ? 2 : 1;
    }
    return 0;
}

static int contradict(const u8 *one, const u8 *other) {
    int same_block = ph_equal(one + 62, other + 62, 32), kind = one[45], against = other[45];
    if (ph_equal(one, other, VOTE_BYTES)) return 0;
    if (kind == VOTE_PROPOSE || against == VOTE_PROPOSE) return kind == against && !same_block;
    if (against == VOTE_FINALIZE) {
        against = kind;
        kind = VOTE_FINALIZE;
    }
    if (kind == VOTE_FINALIZE) {
        if (against == VOTE_FINALIZE || against == VOTE_NOTARIZE) return !same_block;
        return against == VOTE_SKIP || against == VOTE_SFALL || against == VOTE_NFALL;
    }
    const u8 *block, *other_block;
    int first = declares(one, &block), second = declares(other, &other_block);
    if (first && second && (first != second || !ph_equal(block, other_block, 32))) return 1;
    int mixed = (kind == VOTE_NFALL && against == VOTE_NOTARIZE) || (kind == VOTE_NOTARIZE && against == VOTE_NFALL);
    return mixed && same_block;
}

/* Whether a fault convicts `key` for `epoch`. Who led the view of two proposals is not asked: it would take the
 * whole set, and nobody signs two proposals of one view who follows the protocol. */
static int convicts(const u8 *fault, const u8 *key, const u8 *epoch) {
    static u8 claims[4 + 2 * (100 + VOTE_BYTES)], verdicts[2];
    const u8 *one = fault + 32 + SIGNATURE_BYTES, *other = one + VOTE_BYTES + SIGNATURE_BYTES;
    if (!ph_equal(fault, key, 32)) return 0;
    for (u32 i = 0; i < 8; i++)
        if (one[46 + i] != epoch[7 - i]) return 0;
    if (!ph_equal(one, (const u8 *)VOTE_DOMAIN, sizeof VOTE_DOMAIN)) return 0; /* its zero byte with it */
    if (!ph_equal(one, other, 45) || !ph_equal(one + 46, other + 46, 16) || !contradict(one, other)) return 0;
    ph_put_u32(claims, 2);
    for (u32 i = 0; i < 2; i++) {
        u8 *at = claims + 4 + i * (100 + VOTE_BYTES);
        const u8 *vote = i ? other : one;
        __builtin_memcpy(at, key, 32);
        __builtin_memcpy(at + 32, vote - SIGNATURE_BYTES, SIGNATURE_BYTES);
        ph_put_u32(at + 96, VOTE_BYTES);
        __builtin_memcpy(at + 100, vote, VOTE_BYTES);
    }
    ph_ed25519_verify(claims, sizeof claims, verdicts);
    return verdicts[0] && verdicts[1];
}

static u32 challenge(const u8 *body) {
    static u8 item[8 + sizeof FAULT_DOMAIN + FAULT_BYTES];
    u8 digest[32];
    struct ph_cell *cell = slash_of(body, body + 32);
    if (cell->value_length != SLASH_BYTES || cell->value[97] != SLASH_PENDING) return NO_SLASH;
    ph_put_u32(item, 1);
    ph_put_u32(item + 4, sizeof item - 8);
    __builtin_memcpy(item + 8, FAULT_DOMAIN, sizeof FAULT_DOMAIN);
    __builtin_memcpy(item + 8 + sizeof FAULT_DOMAIN, body + 40, FAULT_BYTES);
    ph_blake3(item, sizeof item, digest);
    if (!ph_equal(digest, cell->value + 32, 32)) return OTHER_PROOF;
    if (convicts(body + 40, cell->value, body + 32)) return PROOF_HOLDS;
    cell->value[97] = SLASH_REFUTED;
    cell->changed = 1;
    return OK;
}

#endif
