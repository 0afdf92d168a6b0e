/* State in batches: name all keys that a call may touch, load them in one crossing, change them in memory,
 * store what changed in one crossing. Keys and values here are short; long values go through `ph_write`. */
#ifndef PHALANX_CELLS_H
#define PHALANX_CELLS_H

#include "phalanx.h"

#define PH_CELL_KEY 68
/* A guest that needs more says so before it includes this. */
#ifndef PH_CELLS
#define PH_CELLS 16384 /* a power of two, at most 32768 */
#endif
#ifndef PH_CELL_VALUE
#define PH_CELL_VALUE 80 /* at most 255 */
#endif
#define PH_WRITE_BUFFER (1 << 20)

struct ph_cell {
    u8 key_length, value_length, loaded, changed; /* value_length 0: absent */
    u8 key[PH_CELL_KEY];
    u8 value[PH_CELL_VALUE];
};

static struct ph_cell ph_cells[PH_CELLS];
static u16 ph_slots[2 * PH_CELLS]; /* open addressing: index of a cell plus one */
static u32 ph_cell_count;
static u8 ph_read_buffer[PH_CELLS * (4 + PH_CELL_VALUE)];
static u8 ph_write_buffer[PH_WRITE_BUFFER];
static u32 ph_write_length, ph_write_items;

/* The cell of a key: `tag` then `length` bytes. */
static struct ph_cell *ph_cell(u8 tag, const u8 *rest, u32 length) {
    u64 hash = (0xcbf29ce484222325ull ^ tag) * 0x100000001b3ull;
    for (u32 i = 0; i < length; i++) hash = (hash ^ rest[i]) * 0x100000001b3ull;
    u32 slot = (u32)(hash ^ hash >> 32) & (2 * PH_CELLS - 1);
    for (; ph_slots[slot]; slot = (slot + 1) & (2 * PH_CELLS - 1)) {
        struct ph_cell *cell = &ph_cells[ph_slots[slot] - 1];
        if (cell->key_length == length + 1 && cell->key[0] == tag && ph_equal(cell->key + 1, rest, length))
            return cell;
    }
    if (ph_cell_count == PH_CELLS || length >= PH_CELL_KEY) PH_FAIL("too many keys in one call");
    struct ph_cell *cell = &ph_cells[ph_cell_count++];
    ph_slots[slot] = (u16)ph_cell_count;
    cell->key_length = (u8)(length + 1);
    cell->key[0] = tag;
    __builtin_memcpy(cell->key + 1, rest, length);
    return cell;
}

/* Fetch every cell that was named since the last load. */
static void ph_load(void) {
    u32 length = 4, items = 0;
    u8 *keys = ph_write_buffer;
    static u32 first;
    if (ph_write_length) PH_FAIL("load after write");
    while (first < ph_cell_count) {
        u32 from = first;
        for (length = 4, items = 0; first < ph_cell_count; first++, items++) {
            struct ph_cell *cell = &ph_cells[first];
            if (length + 4 + cell->key_length > PH_WRITE_BUFFER) break;
            ph_put_u32(keys + length, cell->key_length);
            __builtin_memcpy(keys + length + 4, cell->key, cell->key_length);
            length += 4 + cell->key_length;
        }
        ph_put_u32(keys, items);
        if (ph_state_get(keys, length, ph_read_buffer, sizeof ph_read_buffer) > sizeof ph_read_buffer)
            PH_FAIL("a stored value is longer than its cell");
        const u8 *at = ph_read_buffer;
        for (; from < first; from++) {
            u32 size = ph_u32(at);
            at += 4;
            ph_cells[from].loaded = 1;
            if (size == PH_ABSENT) continue;
            if (size > PH_CELL_VALUE) PH_FAIL("a stored value is longer than its cell");
            __builtin_memcpy(ph_cells[from].value, at, size);
            ph_cells[from].value_length = (u8)size;
            at += size;
        }
    }
}

/* Hand over the writes gathered so far. */
static void ph_flush(void) {
    if (!ph_write_items) return;
    ph_put_u32(ph_write_buffer, ph_write_items);
    ph_state_set(ph_write_buffer, ph_write_length);
    ph_write_length = ph_write_items = 0;
}

/* Gather one write; a later one of the same key wins. */
static void ph_write(const u8 *key, u32 key_length, const u8 *value, u32 value_length) {
    if (ph_write_length + 8 + key_length + value_length > PH_WRITE_BUFFER) ph_flush();
    if (!ph_write_length) ph_write_length = 4;
    u8 *at = ph_write_buffer + ph_write_length;
    ph_put_u32(at, key_length);
    __builtin_memcpy(at + 4, key, key_length);
    at += 4 + key_length;
    ph_put_u32(at, value_length);
    __builtin_memcpy(at + 4, value, value_length);
    ph_write_length += 8 + key_length + value_length;
    ph_write_items++;
}

/* Write every changed cell and hand over. */
static void ph_store(void) {
    for (u32 i = 0; i < ph_cell_count; i++) {
        struct ph_cell *cell = &ph_cells[i];
        if (cell->changed) ph_write(cell->key, cell->key_length, cell->value, cell->value_length);
    }
    ph_flush();
}

static inline u128 ph_amount(const struct ph_cell *cell) {
    return cell->value_length ? ph_u128(cell->value) : 0;
}

static inline void ph_set_amount(struct ph_cell *cell, u128 amount) {
    ph_put_u128(cell->value, amount);
    if (cell->value_length < 16) cell->value_length = 16;
    cell->changed = 1;
}

#endif
