/* A state store over plain arrays, read from a file that the tests write. Whole numbers in the file have eight bytes, the
 * lowest first. Rows are sorted by their keys. */
#ifndef ARRAYS_H
#define ARRAYS_H

#include "balustrade.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct { uint8_t address[20], balance[32], code_hash[32], nonce[8], has_storage; } account_row;
typedef struct { bal_slot slot; uint8_t value[32]; } slot_row;
typedef struct { uint8_t hash[32]; bal_bytes bytes; } bytes_row;
typedef struct { uint8_t number[8], hash[32]; } hash_row;

/* Calls of the store, in the order of the header. */
enum { ACCOUNTS, HAS_STORAGE, SLOTS, CODES, BLOCK_HASHES, TRIE_NODES, CALLS };

typedef struct {
    uint8_t *file;
    bal_rules rules;
    bal_bytes block, list, parent, witness;
    const account_row *accounts;
    const slot_row *slots;
    const hash_row *hashes;
    bytes_row *codes, *nodes;
    size_t account_count, slot_count, hash_count, code_count, node_count;
    /* What the tests change, and what they look at afterwards. */
    int threads;               /* threads that answer a batch; 0: the caller's own */
    int failing, fails_half;   /* the call that fails with status 77, after half of its answers */
    atomic_long calls[CALLS], lent;
    atomic_int inside, inside_max;
    void (*on_call)(void *), *on_call_argument;
} arrays;

static uint64_t number(const uint8_t *bytes) {
    uint64_t value = 0;
    for (int i = 7; i >= 0; i--) value = value << 8 | bytes[i];
    return value;
}

static void fail(const char *what) {
    fprintf(stderr, "%s\n", what);
    exit(1);
}

static const uint8_t *take(const uint8_t **at, const uint8_t *end, size_t len) {
    if ((size_t)(end - *at) < len) fail("the file is too short");
    *at += len;
    return *at - len;
}

static uint64_t take_number(const uint8_t **at, const uint8_t *end) { return number(take(at, end, 8)); }

static bal_bytes take_bytes(const uint8_t **at, const uint8_t *end) {
    size_t len = take_number(at, end);
    return (bal_bytes){take(at, end, len), len};
}

static bytes_row *take_rows(const uint8_t **at, const uint8_t *end, size_t *count) {
    *count = take_number(at, end);
    bytes_row *rows = calloc(*count + 1, sizeof *rows);
    for (size_t i = 0; i < *count; i++) {
        memcpy(rows[i].hash, take(at, end, 32), 32);
        rows[i].bytes = take_bytes(at, end);
    }
    return rows;
}

static void arrays_open(arrays *state, const char *path) {
    memset(state, 0, sizeof *state);
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END)) fail("cannot open the file");
    size_t len = ftell(file);
    rewind(file);
    state->file = malloc(len);
    if (fread(state->file, 1, len, file) != len) fail("cannot read the file");
    fclose(file);
    const uint8_t *at = state->file, *end = at + len;
    if (bal_rules_mainnet((uint32_t)take_number(&at, end), &state->rules) != BAL_OK) fail("no such fork");
    state->rules.chain_id = take_number(&at, end);
    state->rules.blob_target = take_number(&at, end);
    state->rules.blob_max = take_number(&at, end);
    state->rules.blob_update_fraction = take_number(&at, end);
    state->block = take_bytes(&at, end);
    state->list = take_bytes(&at, end);
    state->parent = take_bytes(&at, end);
    state->witness = take_bytes(&at, end);
    state->account_count = take_number(&at, end);
    state->accounts = (const account_row *)take(&at, end, state->account_count * sizeof(account_row));
    state->slot_count = take_number(&at, end);
    state->slots = (const slot_row *)take(&at, end, state->slot_count * sizeof(slot_row));
    state->hash_count = take_number(&at, end);
    state->hashes = (const hash_row *)take(&at, end, state->hash_count * sizeof(hash_row));
    state->codes = take_rows(&at, end, &state->code_count);
    state->nodes = take_rows(&at, end, &state->node_count);
    state->failing = -1;
}

static void arrays_close(arrays *state) {
    free(state->codes);
    free(state->nodes);
    free(state->file);
}

/* Both tables of bytes and all other rows begin with their key. */
static const void *find(const void *rows, size_t count, size_t row_len, const void *key, size_t key_len) {
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const uint8_t *row = (const uint8_t *)rows + middle * row_len;
        int order = memcmp(row, key, key_len);
        if (order == 0) return row;
        if (order < 0) low = middle + 1; else high = middle;
    }
    return NULL;
}

/* One answer; false where the call has to fail. */
static int answer(arrays *state, int call, const void *queries, void *out, size_t i) {
    switch (call) {
    case ACCOUNTS:
    case HAS_STORAGE: {
        const account_row *row =
            find(state->accounts, state->account_count, sizeof *row, (const uint8_t(*)[20])queries + i, 20);
        if (call == HAS_STORAGE) {
            ((uint8_t *)out)[i] = row ? row->has_storage : 0;
        } else if (row) {
            bal_account *account = (bal_account *)out + i;
            memcpy(account->balance, row->balance, 32);
            memcpy(account->code_hash, row->code_hash, 32);
            account->nonce = number(row->nonce);
            account->exists = 1;
        }
        return 1;
    }
    case SLOTS: {
        const slot_row *row = find(state->slots, state->slot_count, sizeof *row, (const bal_slot *)queries + i, 52);
        if (row) memcpy((uint8_t(*)[32])out + i, row->value, 32);
        return 1;
    }
    case BLOCK_HASHES:
        for (size_t row = 0; row < state->hash_count; row++) {
            if (number(state->hashes[row].number) == ((const uint64_t *)queries)[i]) {
                memcpy((uint8_t(*)[32])out + i, state->hashes[row].hash, 32);
                return 1;
            }
        }
        return 0;
    default: {
        int nodes = call == TRIE_NODES;
        const bytes_row *row = find(nodes ? state->nodes : state->codes, nodes ? state->node_count : state->code_count,
                                    sizeof *row, (const uint8_t(*)[32])queries + i, 32);
        if (row) {
            /* A copy of its own, so that a buffer which is not given back is noticed. */
            bal_buffer *buffer = (bal_buffer *)out + i;
            buffer->ptr = buffer->owner = malloc(row->bytes.len + 1);
            buffer->len = row->bytes.len;
            memcpy(buffer->ptr, row->bytes.ptr, row->bytes.len);
            state->lent++;
        }
        return 1;
    }
    }
}

typedef struct { arrays *state; int call; const void *queries; void *out; size_t from, to; int failed; } part;

static void *answer_part(void *argument) {
    part *part = argument;
    for (size_t i = part->from; i < part->to; i++) {
        if (!answer(part->state, part->call, part->queries, part->out, i)) part->failed = 1;
    }
    return NULL;
}

static int32_t answer_batch(arrays *state, int call, const void *queries, void *out, size_t count) {
    state->calls[call]++;
    int inside = ++state->inside, most = state->inside_max;
    while (inside > most && !atomic_compare_exchange_weak(&state->inside_max, &most, inside)) {}
    if (state->on_call) state->on_call(state->on_call_argument);
    int32_t status = 0;
    if (state->failing == call) {
        for (size_t i = 0; state->fails_half && i < (count + 1) / 2; i++) answer(state, call, queries, out, i);
        status = 77;
    } else {
        size_t parts = state->threads ? state->threads : 1;
        part of[8];
        pthread_t threads[8];
        for (size_t i = 0; i < parts; i++) {
            of[i] = (part){state, call, queries, out, count * i / parts, count * (i + 1) / parts, 0};
            if (!state->threads) answer_part(&of[i]);
            else if (pthread_create(&threads[i], NULL, answer_part, &of[i])) fail("no thread");
        }
        for (size_t i = 0; i < parts; i++) {
            if (state->threads) pthread_join(threads[i], NULL);
            if (of[i].failed) status = 78;
        }
    }
    state->inside--;
    return status;
}

static int32_t arrays_accounts(void *ctx, const uint8_t (*addresses)[20], bal_account *out, size_t count) {
    return answer_batch(ctx, ACCOUNTS, addresses, out, count);
}
static int32_t arrays_has_storage(void *ctx, const uint8_t (*addresses)[20], uint8_t *out, size_t count) {
    return answer_batch(ctx, HAS_STORAGE, addresses, out, count);
}
static int32_t arrays_slots(void *ctx, const bal_slot *slots, uint8_t (*out)[32], size_t count) {
    return answer_batch(ctx, SLOTS, slots, out, count);
}
static int32_t arrays_codes(void *ctx, const uint8_t (*hashes)[32], bal_buffer *out, size_t count) {
    return answer_batch(ctx, CODES, hashes, out, count);
}
static int32_t arrays_block_hashes(void *ctx, const uint64_t *numbers, uint8_t (*out)[32], size_t count) {
    return answer_batch(ctx, BLOCK_HASHES, numbers, out, count);
}
static int32_t arrays_trie_nodes(void *ctx, const uint8_t (*hashes)[32], bal_buffer *out, size_t count) {
    return answer_batch(ctx, TRIE_NODES, hashes, out, count);
}
static void arrays_release(void *ctx, bal_buffer *buffers, size_t count) {
    for (size_t i = 0; i < count; i++) free(buffers[i].owner);
    ((arrays *)ctx)->lent -= count;
}

static bal_store arrays_store(arrays *state, uint32_t flags) {
    return (bal_store){
        .size = sizeof(bal_store), .flags = flags, .ctx = state,
        .accounts = arrays_accounts, .has_storage = arrays_has_storage, .slots = arrays_slots, .codes = arrays_codes,
        .block_hashes = arrays_block_hashes, .trie_nodes = arrays_trie_nodes, .release = arrays_release,
    };
}

#endif
