
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "table.h"
#include "siphash.h"

#include <stdatomic.h>
#include <string.h>


#define RES_TABLE_OLDEST  8     /* looked at for one with no attempts */
#define RES_TABLE_RUNS    32    /* of 1, 2, 4, ... sorted cells */
#define RES_TABLE_WORDS   16    /* of 64 cells, looked at for a tripped one */


/*
 * A holder of the lock may be killed at any instruction; what it has stored
 * until then is seen in the order of the program, if the compiler keeps it.
 */

#define res_table_barrier()  atomic_signal_fence(memory_order_seq_cst)


static int res_table_known(const res_cell_t *cell, const uint16_t *providers,
    uint32_t n);
static void res_table_put(res_table_t *table, const res_key_t *key,
    const res_cell_t *from);
static res_cell_t *res_table_take(res_table_t *table, const res_key_t *key,
    uint64_t now);
static void res_table_evict(res_table_t *table);
static res_cell_t *res_table_victim(res_table_t *table);
static void res_table_drop(res_table_t *table, res_cell_t *cell);

static void res_table_chain(res_table_t *table, res_cell_t *cell);
static void res_table_unchain(res_table_t *table, res_cell_t *cell);
static void res_table_link(res_table_t *table, res_cell_t *cell);
static void res_table_unlink(res_table_t *table, res_cell_t *cell);
static void res_table_trip(res_table_t *table, res_cell_t *cell, int tripped);

static res_table_provider_t *res_table_counts(res_table_t *table,
    const res_cell_t *cell);
static res_breaker_state_e res_table_counted(res_table_t *table,
    const res_cell_t *cell);
static void res_table_count(res_table_t *table, res_cell_t *cell);

static void res_table_rebuild(res_table_t *table);
static int res_table_sound(res_table_t *table, const res_cell_t *cell);
static void res_table_clear(res_table_t *table);
static void res_table_sort(res_table_t *table, uint32_t runs[], uint32_t n);
static uint32_t res_table_merge(res_table_t *table, uint32_t a, uint32_t b);

static uint64_t res_table_buckets(uint32_t capacity);
static uint64_t res_table_words(uint32_t capacity);
static uint64_t res_table_offset(uint64_t buckets, uint32_t capacity);
static uint32_t *res_table_bucket(res_table_t *table, uint64_t hash);
static uint64_t *res_table_bits(res_table_t *table);


uint32_t
res_table_capacity(size_t bytes)
{
    uint32_t  low, high, middle;
    uint64_t  most;

    most = bytes / sizeof(res_cell_t);

    low = 0;
    high = most < UINT32_MAX / 2 ? most : UINT32_MAX / 2;

    while (low < high) {
        middle = high - (high - low) / 2;

        if (res_table_bytes(middle) <= bytes) {
            low = middle;

        } else {
            high = middle - 1;
        }
    }

    return low;
}


size_t
res_table_bytes(uint32_t capacity)
{
    return res_table_offset(res_table_buckets(capacity), capacity)
           + (uint64_t) capacity * sizeof(res_cell_t);
}


void
res_table_init(res_table_t *table, uint32_t capacity,
    const unsigned char random[16])
{
    memset(table, 0, res_table_bytes(capacity));

    table->capacity = capacity;
    table->mask = res_table_buckets(capacity) - 1;

    res_siphash_key(table->key, random);

    res_table_clear(table);
}


void
res_table_enter(res_table_t *table)
{
    if (table->busy) {
        res_table_rebuild(table);
    }

    table->busy = 1;

    res_table_barrier();
}


void
res_table_leave(res_table_t *table)
{
    res_table_barrier();

    table->busy = 0;
}


res_cell_t *
res_table_find(res_table_t *table, const res_key_t *key)
{
    uint32_t     n;
    res_cell_t  *cell;

    n = *res_table_bucket(table, key->hash);

    while (n != RES_NO_CELL) {
        cell = res_table_cell(table, n);

        if (cell->hash == key->hash
            && cell->provider == key->provider
            && cell->tenant_len == key->tenant_len
            && (key->tenant_len == 0
                || memcmp(cell->tenant, key->tenant, key->tenant_len) == 0))
        {
            return cell;
        }

        n = cell->chain;
    }

    return NULL;
}


res_cell_t *
res_table_get(res_table_t *table, const res_key_t *key, uint64_t now)
{
    res_cell_t  *cell;

    cell = res_table_find(table, key);

    if (cell == NULL) {
        return res_table_take(table, key, now);
    }

    cell->used_at = now;

    res_table_unlink(table, cell);
    res_table_link(table, cell);

    return cell;
}


res_breaker_state_e
res_table_settle(res_table_t *table, res_cell_t *cell)
{
    uint8_t              tripped;
    res_breaker_state_e  before;

    before = res_table_counted(table, cell);

    res_table_counts(table, cell)->cells[before]--;
    res_table_count(table, cell);

    tripped = !res_breaker_idle(&cell->breaker);

    if (cell->tripped != tripped) {
        res_table_unlink(table, cell);
        res_table_trip(table, cell, tripped);
        res_table_link(table, cell);
    }

    return before;
}


void
res_table_epoch(res_table_t *table, uint16_t provider, uint32_t epoch,
    res_breaker_state_e state, uint32_t moved[RES_BREAKER_STATES])
{
    uint32_t               i, all;
    res_table_provider_t  *p;

    p = (res_table_provider_t *) res_table_provider(table, provider);

    if (moved) {
        memset(moved, 0, RES_BREAKER_STATES * sizeof(uint32_t));
    }

    if (p->epoch == epoch && p->state == (uint32_t) state) {
        return;
    }

    all = 0;

    for (i = 0; i < RES_BREAKER_STATES; i++) {
        all += p->cells[i];

        if (moved) {
            moved[i] = p->cells[i];
        }

        p->cells[i] = 0;
    }

    p->cells[state] = all;
    p->state = state;
    p->epoch = epoch;
}


const res_table_provider_t *
res_table_provider(const res_table_t *table, uint16_t provider)
{
    return &table->providers[provider < RES_TABLE_PROVIDERS
                                 ? provider : RES_TABLE_PROVIDERS];
}


static res_table_provider_t *
res_table_counts(res_table_t *table, const res_cell_t *cell)
{
    return (res_table_provider_t *) res_table_provider(table, cell->provider);
}


/* the state that a cell, which is counted, is counted in */

static res_breaker_state_e
res_table_counted(res_table_t *table, const res_cell_t *cell)
{
    res_table_provider_t  *p;

    p = res_table_counts(table, cell);

    return (cell->counted_at == p->epoch) ? cell->counted : p->state;
}


/* counts a cell that is not counted */

static void
res_table_count(res_table_t *table, res_cell_t *cell)
{
    res_table_provider_t  *p;

    p = res_table_counts(table, cell);

    cell->counted = (cell->epoch == p->epoch)
                        ? res_breaker_shown(&cell->breaker) : p->state;
    cell->counted_at = p->epoch;

    p->cells[cell->counted]++;
}


void
res_table_copy(res_table_t *table, res_table_t *from,
    const uint16_t *providers, uint32_t n)
{
    uint32_t           list, number, last, room;
    res_key_t          key;
    const res_cell_t  *cell;

    for (list = 2; list-- > 0; /* void */) {

        room = table->capacity - table->used;
        last = RES_NO_CELL;
        number = from->head[list];

        while (number != RES_NO_CELL && room != 0) {
            cell = res_table_cell(from, number);

            if (res_table_known(cell, providers, n)) {
                last = number;
                room--;
            }

            number = cell->next;
        }

        /* the most recently used one comes last, as it did in the other */

        for (number = last; number != RES_NO_CELL; number = cell->prev) {
            cell = res_table_cell(from, number);

            if (!res_table_known(cell, providers, n)) {
                continue;
            }

            key.tenant = cell->tenant;
            key.tenant_len = cell->tenant_len;
            key.provider = providers[cell->provider];
            key.hash = res_table_hash(table, key.tenant, key.tenant_len,
                                      key.provider);

            res_table_put(table, &key, cell);
        }
    }
}


static int
res_table_known(const res_cell_t *cell, const uint16_t *providers, uint32_t n)
{
    return cell->provider < n && providers[cell->provider] != RES_NO_PROVIDER;
}


static void
res_table_put(res_table_t *table, const res_key_t *key, const res_cell_t *from)
{
    res_cell_t  *cell;

    cell = res_table_get(table, key, from->used_at);

    cell->breaker = from->breaker;
    cell->epoch = from->epoch;
    cell->credential = from->credential;

    (void) res_table_settle(table, cell);
}


res_cell_t *
res_table_cell(res_table_t *table, uint32_t n)
{
    unsigned char  *p;

    p = (unsigned char *) table
        + res_table_offset((uint64_t) table->mask + 1, table->capacity);

    return (res_cell_t *) p + n;
}


uint32_t
res_table_number(res_table_t *table, const res_cell_t *cell)
{
    return cell - res_table_cell(table, 0);
}


uint32_t
res_table_tripped(res_table_t *table, uint32_t n)
{
    uint32_t         i;
    uint64_t         word;
    const uint64_t  *bits;

    bits = res_table_bits(table);

    for (i = 0; i < RES_TABLE_WORDS && n < table->capacity; i++) {

        word = bits[n / 64] >> n % 64;

        if (word != 0) {
            return n + (uint32_t) __builtin_ctzll(word);
        }

        n = (n | 63) + 1;
    }

    return n;
}


static res_cell_t *
res_table_take(res_table_t *table, const res_key_t *key, uint64_t now)
{
    res_cell_t  *cell;

    if (table->free == RES_NO_CELL && table->fresh == table->capacity) {
        res_table_evict(table);
    }

    if (table->free != RES_NO_CELL) {
        cell = res_table_cell(table, table->free);
        table->free = cell->chain;

    } else {
        cell = res_table_cell(table, table->fresh);
        table->fresh++;
    }

    cell->incarnation++;
    cell->hash = key->hash;
    cell->used_at = now;
    cell->inflight = 0;
    cell->epoch = 0;
    cell->credential = 0;
    cell->provider = key->provider;
    cell->tripped = 0;
    cell->tenant_len = key->tenant_len;

    if (key->tenant_len != 0) {
        memcpy(cell->tenant, key->tenant, key->tenant_len);
    }

    memset(&cell->aimd, 0, sizeof(res_aimd_t));
    res_breaker_init(&cell->breaker, now);

    /* from here on the cell has its new key, before it has none */

    res_table_barrier();

    cell->used = 1;
    table->used++;

    res_table_chain(table, cell);
    res_table_link(table, cell);
    res_table_count(table, cell);

    return cell;
}


static void
res_table_evict(res_table_t *table)
{
    res_cell_t  *cell;

    cell = res_table_victim(table);

    table->evictions++;

    res_table_unlink(table, cell);
    res_table_unchain(table, cell);

    if (cell->tripped) {
        table->evicted_open++;
        res_table_trip(table, cell, 0);
    }

    table->used--;
    res_table_counts(table, cell)->cells[res_table_counted(table, cell)]--;

    res_table_drop(table, cell);
}


/* a full table has a tail in one of its lists at least */

static res_cell_t *
res_table_victim(res_table_t *table)
{
    uint32_t     i, n;
    res_cell_t  *cell;

    n = table->tail[0];

    for (i = 0; i < RES_TABLE_OLDEST && n != RES_NO_CELL; i++) {
        cell = res_table_cell(table, n);

        if (cell->inflight == 0) {
            return cell;
        }

        n = cell->prev;
    }

    n = (table->tail[0] != RES_NO_CELL) ? table->tail[0] : table->tail[1];

    return res_table_cell(table, n);
}


/* the key goes first: half of one must never be seen as a whole */

static void
res_table_drop(res_table_t *table, res_cell_t *cell)
{
    cell->used = 0;

    res_table_barrier();

    cell->chain = table->free;
    table->free = res_table_number(table, cell);
}


static void
res_table_chain(res_table_t *table, res_cell_t *cell)
{
    uint32_t  *bucket;

    bucket = res_table_bucket(table, cell->hash);

    cell->chain = *bucket;
    *bucket = res_table_number(table, cell);
}


static void
res_table_unchain(res_table_t *table, res_cell_t *cell)
{
    uint32_t  *n;

    n = res_table_bucket(table, cell->hash);

    while (*n != res_table_number(table, cell)) {
        n = &res_table_cell(table, *n)->chain;
    }

    *n = cell->chain;
}


static void
res_table_link(res_table_t *table, res_cell_t *cell)
{
    uint32_t  n, *head, *tail;

    head = &table->head[cell->tripped];
    tail = &table->tail[cell->tripped];

    n = res_table_number(table, cell);

    cell->prev = RES_NO_CELL;
    cell->next = *head;

    if (*head != RES_NO_CELL) {
        res_table_cell(table, *head)->prev = n;

    } else {
        *tail = n;
    }

    *head = n;
}


static void
res_table_unlink(res_table_t *table, res_cell_t *cell)
{
    if (cell->prev != RES_NO_CELL) {
        res_table_cell(table, cell->prev)->next = cell->next;

    } else {
        table->head[cell->tripped] = cell->next;
    }

    if (cell->next != RES_NO_CELL) {
        res_table_cell(table, cell->next)->prev = cell->prev;

    } else {
        table->tail[cell->tripped] = cell->prev;
    }
}


static void
res_table_trip(res_table_t *table, res_cell_t *cell, int tripped)
{
    uint32_t   n;
    uint64_t  *word, bit;

    n = res_table_number(table, cell);

    word = &res_table_bits(table)[n / 64];
    bit = (uint64_t) 1 << n % 64;

    *word = tripped ? *word | bit : *word & ~bit;

    if (cell->provider < RES_TABLE_PROVIDERS) {
        table->tripped[cell->provider] += tripped ? 1 : -1;
    }

    cell->tripped = tripped;
}


/* trusts nothing but the cells' keys, breakers and times of use */

static void
res_table_rebuild(res_table_t *table)
{
    uint32_t     i, n, runs[RES_TABLE_RUNS];
    res_cell_t  *cell;

    table->rebuilt++;

    res_table_clear(table);

    for (i = 0; i < RES_TABLE_RUNS; i++) {
        runs[i] = RES_NO_CELL;
    }

    for (n = 0; n < table->fresh; n++) {
        cell = res_table_cell(table, n);

        if (!res_table_sound(table, cell)) {
            res_table_drop(table, cell);
            continue;
        }

        table->used++;

        cell->tripped = 0;

        if (!res_breaker_idle(&cell->breaker)) {
            res_table_trip(table, cell, 1);
        }

        res_table_chain(table, cell);
        res_table_count(table, cell);
        res_table_sort(table, runs, n);
    }

    n = RES_NO_CELL;

    for (i = 0; i < RES_TABLE_RUNS; i++) {
        n = res_table_merge(table, runs[i], n);
    }

    while (n != RES_NO_CELL) {
        cell = res_table_cell(table, n);
        n = cell->next;

        res_table_link(table, cell);
    }
}


static int
res_table_sound(res_table_t *table, const res_cell_t *cell)
{
    return cell->used == 1
           && cell->tenant_len <= RES_TENANT_LEN
           && cell->breaker.state <= RES_HALF_OPEN
           && cell->hash == res_table_hash(table, cell->tenant,
                                           cell->tenant_len, cell->provider);
}


static void
res_table_clear(res_table_t *table)
{
    uint32_t  i;

    table->used = 0;
    table->free = RES_NO_CELL;

    for (i = 0; i < 2; i++) {
        table->head[i] = RES_NO_CELL;
        table->tail[i] = RES_NO_CELL;
    }

    for (i = 0; i <= RES_TABLE_PROVIDERS; i++) {
        memset(table->providers[i].cells, 0,
               sizeof(table->providers[i].cells));
    }

    for (i = 0; i <= table->mask; i++) {
        *res_table_bucket(table, i) = RES_NO_CELL;
    }

    memset(table->tripped, 0, sizeof(table->tripped));
    memset(res_table_bits(table), 0,
           res_table_words(table->capacity) * sizeof(uint64_t));
}


/*
 * A merge sort in place: adds a cell to runs of 1, 2, 4, ... cells, each one
 * linked by "next" and empty or full, as one counts in binary.
 */

static void
res_table_sort(res_table_t *table, uint32_t runs[], uint32_t n)
{
    uint32_t  i;

    res_table_cell(table, n)->next = RES_NO_CELL;

    for (i = 0; runs[i] != RES_NO_CELL; i++) {
        n = res_table_merge(table, runs[i], n);
        runs[i] = RES_NO_CELL;
    }

    runs[i] = n;
}


/* the least recently used first */

static uint32_t
res_table_merge(res_table_t *table, uint32_t a, uint32_t b)
{
    uint32_t     first, *last;
    res_cell_t  *x, *y;

    last = &first;

    while (a != RES_NO_CELL && b != RES_NO_CELL) {
        x = res_table_cell(table, a);
        y = res_table_cell(table, b);

        if (x->used_at <= y->used_at) {
            *last = a;
            last = &x->next;
            a = x->next;

        } else {
            *last = b;
            last = &y->next;
            b = y->next;
        }
    }

    *last = (a != RES_NO_CELL) ? a : b;

    return first;
}


uint64_t
res_table_hash(const res_table_t *table, const unsigned char *tenant,
    size_t tenant_len, uint16_t provider)
{
    size_t         len;
    unsigned char  text[RES_TENANT_LEN + 2];

    len = tenant_len < RES_TENANT_LEN ? tenant_len : RES_TENANT_LEN;

    if (len != 0) {
        memcpy(text, tenant, len);
    }

    text[len++] = provider & 0xff;
    text[len++] = provider >> 8;

    return res_siphash(table->key, text, len);
}


/* two at least: that keeps the cells aligned */

static uint64_t
res_table_buckets(uint32_t capacity)
{
    uint64_t  buckets;

    buckets = 2;

    while (buckets < capacity) {
        buckets *= 2;
    }

    return buckets;
}


/* of bits, one for each cell */

static uint64_t
res_table_words(uint32_t capacity)
{
    return ((uint64_t) capacity + 63) / 64;
}


/* of the first cell */

static uint64_t
res_table_offset(uint64_t buckets, uint32_t capacity)
{
    return sizeof(res_table_t) + buckets * sizeof(uint32_t)
           + res_table_words(capacity) * sizeof(uint64_t);
}


static uint32_t *
res_table_bucket(res_table_t *table, uint64_t hash)
{
    uint32_t  *buckets;

    buckets = (uint32_t *) (table + 1);

    return &buckets[hash & table->mask];
}


static uint64_t *
res_table_bits(res_table_t *table)
{
    return (uint64_t *) (void *) ((uint32_t *) (table + 1)
                                  + (uint64_t) table->mask + 1);
}
