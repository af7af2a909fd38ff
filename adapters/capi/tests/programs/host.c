/* Runs a block from a store of plain arrays: host MODE FILE [COUNT]. Each mode prints what the test compares. */
#include "arrays.h"

static bal_executor *executor;
static bal_tries *tries;
static arrays state;

static void print_hex(const char *name, const uint8_t *bytes, size_t len) {
    printf("%s ", name);
    for (size_t i = 0; i < len; i++) printf("%02x", bytes[i]);
    printf("\n");
}

static void print_outcome(const bal_outcome *outcome) {
    bal_bytes error = bal_outcome_error(outcome);
    if (error.len) {
        printf("error %.*s\n", (int)error.len, (const char *)error.ptr);
        for (size_t i = 0; bal_outcome_class(outcome, i).len; i++) {
            bal_bytes class = bal_outcome_class(outcome, i);
            printf("class %.*s\n", (int)class.len, (const char *)class.ptr);
        }
        return;
    }
    bal_summary summary = {.size = sizeof summary};
    if (bal_outcome_summary(outcome, &summary) != BAL_OK) fail("no summary");
    print_hex("hash", summary.hash, 32);
    printf("gas %llu\n", (unsigned long long)summary.gas_used);
    if (summary.has_state_root) print_hex("state root", summary.state_root, 32);
    print_hex("receipts root", summary.receipts_root, 32);
    printf("complete %d%s\n", summary.is_complete, bal_outcome_unchecked(outcome).len ? " but for some" : "");
    size_t receipts = 0;
    for (size_t i = 0; i < summary.transactions; i++) receipts += bal_outcome_receipt(outcome, i).len;
    printf("receipts %llu, %zu bytes, then %zu\n", (unsigned long long)summary.transactions, receipts,
           bal_outcome_receipt(outcome, summary.transactions).len);
    printf("list %zu bytes, requests %zu bytes\n", bal_outcome_list(outcome).len, bal_outcome_requests(outcome).len);
    const bal_changes *both[2] = {bal_outcome_changes(outcome), bal_outcome_before(outcome)};
    for (int i = 0; i < 2; i++) {
        /* A sum of everything that the columns hold. */
        const bal_changes *changes = both[i];
        uint64_t sum = 0, bits = 0;
        for (size_t row = 0; row < changes->accounts; row++) {
            sum += changes->nonces[row] + changes->addresses[row][19] + changes->balances[row][31];
            sum += changes->code_hashes[row][31] + changes->statuses[row];
            bits += changes->fields[row];
        }
        size_t slots = changes->slot_starts[changes->accounts] - changes->slot_starts[0];
        for (size_t row = 0; row < slots; row++) sum += changes->slot_keys[row][31] + changes->slot_values[row][31];
        for (size_t row = 0; row < changes->codes; row++) {
            sum += changes->new_codes[row].len + changes->new_code_hashes[row][31];
        }
        printf("%s %zu accounts, %zu slots, %zu codes, bits %llu, sum %llu\n", i ? "before" : "changes", changes->accounts,
               slots, changes->codes, (unsigned long long)bits, (unsigned long long)sum);
    }
}

static bal_status execute(bal_bytes list, const bal_store *store, bal_cancel *cancel, int prints) {
    bal_outcome *outcome = NULL;
    bal_status status =
        bal_execute(executor, &state.rules, state.block, list, state.parent, store, tries, cancel, &outcome);
    if (!outcome) fail("no outcome");
    if (prints) printf("status %d\n", status), print_outcome(outcome);
    bal_outcome_free(outcome);
    if (status == BAL_OK && tries && bal_tries_rollback(tries) != BAL_OK) fail("cannot roll back");
    if (state.lent) fail("buffers were not given back");
    return status;
}

static const bal_bytes NONE = {NULL, 0};

/* A new executor and new tries, which have read nothing yet. */
static void renew(void) {
    bal_tries_free(tries);
    bal_executor_free(executor);
    bal_options options = {.size = sizeof options, .threads = 2};
    if (bal_executor_new(&options, &executor) != BAL_OK) fail("no executor");
    /* The state root of the parent is the fourth item of its header, after two hashes and an address. */
    uint8_t root[32];
    memcpy(root, state.parent.ptr + 3 + 33 + 33 + 21 + 1, 32);
    if (bal_tries_new(&root, &tries) != BAL_OK) fail("no tries");
}

static void faults(const bal_store *store) {
    const char *names[CALLS] = {"accounts", "has_storage", "slots", "codes", "block_hashes", "trie_nodes"};
    for (int call = 0; call < CALLS; call++) {
        for (int half = 0; half < 2; half++) {
            renew();
            state.failing = call;
            state.fails_half = half;
            long before = state.calls[call];
            bal_status status = execute(state.list, store, NULL, 0);
            /* A call that the block does not need cannot fail it. */
            int asked = state.calls[call] > before;
            printf("%s %s: %s\n", names[call], half ? "half-way" : "at once",
                   !asked ? "not asked" : status == BAL_STORE ? "store" : "another status");
        }
    }
    state.failing = -1;
}

static void call_again(void *argument) {
    bal_outcome *outcome = NULL;
    bal_status status = bal_execute(executor, &state.rules, state.block, state.list, state.parent, argument, NULL, NULL,
                                    &outcome);
    if (status != BAL_USAGE) fail("a second call was let in");
    bal_outcome_free(outcome);
}

static void cancel_now(void *argument) { bal_cancel_set(argument); }

static void usage(const bal_store *store) {
    bal_outcome *outcome = NULL;
    int number = 0;
    #define EXPECT(status, call) do { \
        number++; \
        if ((call) != (status)) printf("case %d: another status\n", number); \
        if (outcome) printf("%.*s\n", (int)bal_outcome_error(outcome).len, (const char *)bal_outcome_error(outcome).ptr); \
        bal_outcome_free(outcome); \
        outcome = NULL; \
    } while (0)
    #define RUN(executor, rules, block, list, store) \
        bal_execute(executor, rules, block, list, state.parent, store, tries, NULL, &outcome)
    EXPECT(BAL_USAGE, RUN(NULL, &state.rules, state.block, state.list, store));
    EXPECT(BAL_USAGE, RUN(executor, NULL, state.block, state.list, store));
    EXPECT(BAL_USAGE, RUN(executor, &state.rules, state.block, state.list, NULL));
    EXPECT(BAL_USAGE, RUN(executor, &state.rules, ((bal_bytes){NULL, 1}), state.list, store));
    EXPECT(BAL_USAGE, RUN(executor, &state.rules, ((bal_bytes){state.block.ptr, SIZE_MAX}), state.list, store));
    EXPECT(BAL_INVALID, RUN(executor, &state.rules, NONE, state.list, store));
    bal_rules rules = state.rules;
    rules.size = 7;
    EXPECT(BAL_USAGE, RUN(executor, &rules, state.block, state.list, store));
    rules = state.rules;
    rules.fork = 99;
    EXPECT(BAL_USAGE, RUN(executor, &rules, state.block, state.list, store));
    bal_store other = *store;
    other.size++;
    EXPECT(BAL_USAGE, RUN(executor, &state.rules, state.block, state.list, &other));
    other = *store;
    other.flags = 6;
    EXPECT(BAL_USAGE, RUN(executor, &state.rules, state.block, state.list, &other));
    other = *store;
    other.slots = NULL;
    EXPECT(BAL_USAGE, RUN(executor, &state.rules, state.block, state.list, &other));
    EXPECT(BAL_USAGE, bal_execute(executor, &state.rules, state.block, state.list, ((bal_bytes){state.block.ptr, 3}), store,
                                  tries, NULL, &outcome));
    EXPECT(BAL_USAGE, bal_execute(executor, &state.rules, state.block, state.list, state.parent, store, tries, NULL, NULL));
    EXPECT(BAL_STORE, bal_execute_stateless(executor, &state.rules, state.block, state.list, NONE, &outcome));
    EXPECT(BAL_STORE, bal_execute_stateless(executor, &state.rules, state.block, state.list,
                                            ((bal_bytes){(const uint8_t *)"{}", 2}), &outcome));
    bal_executor *made = NULL;
    bal_options options = {.size = sizeof options, .mode = 4};
    EXPECT(BAL_USAGE, bal_executor_new(&options, &made));
    options = (bal_options){.size = sizeof options, .flags = 2};
    EXPECT(BAL_USAGE, bal_executor_new(&options, &made));
    options = (bal_options){.size = 0};
    EXPECT(BAL_USAGE, bal_executor_new(&options, &made));
    EXPECT(BAL_USAGE, bal_executor_new(NULL, NULL));
    EXPECT(BAL_USAGE, bal_rules_mainnet(16, &rules));
    EXPECT(BAL_USAGE, bal_rules_of_chain(77, state.block, &rules));
    EXPECT(BAL_INVALID, bal_rules_of_chain(1, NONE, &rules));
    EXPECT(BAL_OK, bal_rules_of_chain(1, state.block, &rules));
    EXPECT(BAL_USAGE, bal_tries_new(NULL, NULL));
    EXPECT(BAL_USAGE, bal_tries_commit(NULL));
    EXPECT(BAL_USAGE, bal_cancel_set(NULL));
    bal_summary summary = {.size = sizeof summary};
    EXPECT(BAL_USAGE, bal_outcome_summary(NULL, &summary));
    if (bal_outcome_list(NULL).len || bal_outcome_changes(NULL)) fail("something of nothing");
    bal_outcome_free(NULL), bal_executor_free(NULL), bal_tries_free(NULL), bal_cancel_free(NULL);
    printf("%d cases\n", number);
}

/* Resident pages of this process. */
static long resident(void) {
    long pages = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file) return 0;
    if (fscanf(file, "%ld %ld", &pages, &resident) != 2) resident = 0;
    fclose(file);
    return resident;
}

int main(int argc, char **argv) {
    if (argc < 3) fail("host MODE FILE [COUNT]");
    const char *mode = argv[1];
    if (bal_abi_version() != BAL_ABI_VERSION) fail("the library has another version than the header");
    arrays_open(&state, argv[2]);
    int is_sequential = !strcmp(mode, "sequential");
    renew();
    bal_store store = arrays_store(&state, strcmp(mode, "resident") ? 0 : BAL_RESIDENT);

    if (!strcmp(mode, "run") || !strcmp(mode, "resident") || is_sequential) {
        execute(is_sequential ? NONE : state.list, &store, NULL, 1);
    } else if (!strcmp(mode, "stateless")) {
        bal_outcome *outcome = NULL;
        bal_status status =
            bal_execute_stateless(executor, &state.rules, state.block, state.list, state.witness, &outcome);
        printf("status %d\n", status);
        print_outcome(outcome);
        bal_outcome_free(outcome);
    } else if (!strcmp(mode, "faults")) {
        faults(&store);
        execute(state.list, &store, NULL, 1);
    } else if (!strcmp(mode, "threads")) {
        state.threads = 4;
        execute(state.list, &store, NULL, 1);
    } else if (!strcmp(mode, "busy")) {
        state.on_call = call_again;
        state.on_call_argument = &store;
        execute(state.list, &store, NULL, 1);
    } else if (!strcmp(mode, "cancel")) {
        bal_cancel *cancel = NULL, *late = NULL;
        if (bal_cancel_new(0, &cancel) != BAL_OK || bal_cancel_new(UINT64_MAX, &late) != BAL_OK) fail("no token");
        printf("late %d\n", execute(state.list, &store, late, 0));
        state.on_call = cancel_now;
        state.on_call_argument = cancel;
        printf("cancelled %d\n", execute(state.list, &store, cancel, 0));
        state.on_call = NULL;
        printf("still cancelled %d\n", execute(state.list, &store, cancel, 0));
        execute(state.list, &store, NULL, 1);
        bal_cancel_free(cancel);
        bal_cancel_free(late);
    } else if (!strcmp(mode, "invalid")) {
        uint8_t *list = malloc(state.list.len);
        memcpy(list, state.list.ptr, state.list.len);
        list[state.list.len / 2] ^= 1;
        execute((bal_bytes){list, state.list.len}, &store, NULL, 1);
        free(list);
    } else if (!strcmp(mode, "usage")) {
        usage(&store);
    } else if (!strcmp(mode, "repeat")) {
        long count = argc > 3 ? atol(argv[3]) : 1000, at_first = 0;
        for (long i = 0; i < count; i++) {
            if (i == count / 4) at_first = resident();
            if (execute(i % 2 ? state.list : NONE, &store, NULL, 0) != BAL_OK) fail("another status");
        }
        printf("%ld blocks, %ld pages more\n", count, resident() - at_first);
    } else {
        fail("no such mode");
    }
    bal_tries_free(tries);
    bal_executor_free(executor);
    arrays_close(&state);
    return 0;
}
