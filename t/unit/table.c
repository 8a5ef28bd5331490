
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "engine/table.h"
#include "tap.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>


/*
 * SipHash-2-4 of the bytes 0, 1, 2, ... under the key 0, 1, ... 15: of 2 to
 * 63 bytes as published with the algorithm, of 64 to 66 as OpenSSL has it.
 */

static const uint64_t  vectors[] = {
    0x0d6c8009d9a94f5a, 0x85676696d7fb7e2d, 0xcf2794e0277187b7,
    0x18765564cd99a68d, 0xcbc9466e58fee3ce, 0xab0200f58b01d137,
    0x93f5f5799a932462, 0x9e0082df0ba9e4b0, 0x7a5dbbc594ddb9f3,
    0xf4b32f46226bada7, 0x751e8fbc860ee5fb, 0x14ea5627c0843d90,
    0xf723ca908e7af2ee, 0xa129ca6149be45e5, 0x3f2acc7f57c29bdb,
    0x699ae9f52cbe4794, 0x4bc1b3f0968dd39c, 0xbb6dc91da77961bd,
    0xbed65cf21aa2ee98, 0xd0f2cbb02e3b67c7, 0x93536795e3a33e88,
    0xa80c038ccd5ccec8, 0xb8ad50c6f649af94, 0xbce192de8a85b8ea,
    0x17d835b85bbb15f3, 0x2f2e6163076bcfad, 0xde4daaaca71dc9a5,
    0xa6a2506687956571, 0xad87a3535c49ef28, 0x32d892fad841c342,
    0x7127512f72f27cce, 0xa7f32346f95978e3, 0x12e0b01abb051238,
    0x15e034d40fa197ae, 0x314dffbe0815a3b4, 0x027990f029623981,
    0xcadcd4e59ef40c4d, 0x9abfd8766a33735c, 0x0e3ea96b5304a7d0,
    0xad0c42d6fc585992, 0x187306c89bc215a9, 0xd4a60abcf3792b95,
    0xf935451de4f21df2, 0xa9538f0419755787, 0xdb9acddff56ca510,
    0xd06c98cd5c0975eb, 0xe612a3cb9ecba951, 0xc766e62cfcadaf96,
    0xee64435a9752fe72, 0xa192d576b245165a, 0x0a8787bf8ecb74b2,
    0x81b3e73d20b49b6f, 0x7fa8220ba3b2ecea, 0x245731c13ca42499,
    0xb78dbfaf3a8d83bd, 0xea1ad565322a1a0b, 0x60e61c23a3795013,
    0x6606d7e446282b93, 0x6ca4ecb15c5f91e1, 0x9f626da15c9625f3,
    0xe51b38608ef25f57, 0x958a324ceb064572, 0xacd2c40b8502cad8,
    0x36b6bedb91a25924, 0xbe9accae8d30b375
};


static const unsigned char  secret[16] = {
    0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
};


#define KEYS  100               /* of the model, their hashes are kept */


static uint64_t  seed = 1;


static uint32_t
number(uint32_t limit)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;

    return (uint32_t) ((seed >> 16) % limit);
}


/* exactly as much memory as asked for, and dirty */

static res_table_t *
create(uint32_t capacity)
{
    res_table_t  *table;

    table = malloc(res_table_bytes(capacity));

    memset(table, 0xa5, res_table_bytes(capacity));
    res_table_init(table, capacity, secret);

    return table;
}


/* the key number n: tenants of 0 to 64 bytes, some with NULs */

static res_key_t
key(const res_table_t *table, uint32_t n)
{
    static uint64_t       hashes[KEYS];
    static unsigned char  tenants[8][RES_TENANT_LEN];

    unsigned char  *p;
    res_key_t       k;

    static const uint8_t  lens[] = { 0, 1, 2, 8, 9, 63, 64, 64 };

    p = tenants[n % 8];

    memset(p, 'x', RES_TENANT_LEN);
    memset(p, 0, n % 8 / 2);

    if (n % 8 == 7) {
        p[RES_TENANT_LEN - 1] = 0;
    }

    k.tenant = (n % 8 == 0) ? NULL : p;
    k.tenant_len = lens[n % 8];
    k.provider = (uint16_t) (n / 8 * 257);

    if (n >= KEYS) {
        k.hash = res_table_hash(table, k.tenant, k.tenant_len, k.provider);
        return k;
    }

    if (hashes[n] == 0) {
        hashes[n] = res_table_hash(table, k.tenant, k.tenant_len, k.provider);
    }

    k.hash = hashes[n];

    return k;
}


static res_cell_t *
get(res_table_t *table, uint32_t n, uint64_t now)
{
    res_key_t  k;

    k = key(table, n);

    return res_table_get(table, &k, now);
}


static res_cell_t *
find(res_table_t *table, uint32_t n)
{
    res_key_t  k;

    k = key(table, n);

    return res_table_find(table, &k);
}


static void
set_state(res_table_t *table, uint32_t n, unsigned state)
{
    res_cell_t  *cell;

    cell = find(table, n);
    cell->breaker.state = (uint8_t) state;

    res_table_settle(table, cell);
}


static void
set_forced(res_table_t *table, uint32_t n, unsigned forced)
{
    res_cell_t        *cell;
    res_transition_t   t;

    cell = find(table, n);
    res_breaker_force(&cell->breaker, forced, 5, &t);

    res_table_settle(table, cell);
}


/* a death of the lock's holder, and the next one */

static void
restart(res_table_t *table)
{
    table->busy = 1;

    res_table_enter(table);
    res_table_leave(table);
}


/* every cell is in the index as it should be, or what is wrong */

static const char *
broken_chains(res_table_t *table, unsigned char *seen)
{
    uint32_t     i, n, count, *buckets;
    res_cell_t  *cell;

    buckets = (uint32_t *) (table + 1);
    count = 0;

    for (i = 0; i <= table->mask; i++) {
        for (n = buckets[i]; n != RES_NO_CELL; n = cell->chain) {

            if (n >= table->capacity) {
                return "no cell in a chain";
            }

            cell = res_table_cell(table, n);

            if (seen[n]++ != 0) {
                return "a cell twice in a chain";
            }

            if (!cell->used || (cell->hash & table->mask) != i) {
                return "a wrong cell in a chain";
            }

            count++;
        }
    }

    return count == table->used ? NULL : "not all cells in a chain";
}


static const char *
broken_lists(res_table_t *table, unsigned char *seen)
{
    uint32_t     i, n, count, prev;
    res_cell_t  *cell;

    count = 0;

    for (i = 0; i < 2; i++) {
        prev = RES_NO_CELL;

        for (n = table->head[i]; n != RES_NO_CELL; n = cell->next) {

            if (n >= table->capacity) {
                return "no cell in a list";
            }

            cell = res_table_cell(table, n);

            if (seen[n]++ != 1) {
                return "a wrong cell in a list";
            }

            if (cell->prev != prev) {
                return "a wrong way back in a list";
            }

            if (cell->tripped != i
                || i == (uint32_t) res_breaker_idle(&cell->breaker))
            {
                return "a cell in the wrong list";
            }

            prev = n;
            count++;
        }

        if (table->tail[i] != prev) {
            return "a wrong tail of a list";
        }
    }

    return count == table->used ? NULL : "not all cells in a list";
}


static const char *
broken_rest(res_table_t *table, unsigned char *seen)
{
    uint32_t     n, count;
    res_cell_t  *cell;

    if (table->fresh > table->capacity) {
        return "more cells than there are";
    }

    for (n = table->fresh; n < table->capacity; n++) {
        if (seen[n] != 0 || res_table_cell(table, n)->used) {
            return "a cell in use that never was";
        }
    }

    count = 0;

    for (n = table->free; n != RES_NO_CELL; n = cell->chain) {

        if (n >= table->fresh) {
            return "no cell in the chain of the free";
        }

        cell = res_table_cell(table, n);

        if (seen[n]++ != 0 || cell->used) {
            return "a wrong cell in the chain of the free";
        }

        count++;
    }

    return count + table->used == table->fresh ? NULL : "a cell is lost";
}


/* what is found by going from one tripped cell to the next */

static const char *
broken_tripped(res_table_t *table)
{
    uint32_t     i, n, next, of[RES_TABLE_PROVIDERS];
    res_cell_t  *cell;

    memset(of, 0, sizeof(of));

    for (n = 0; n < table->capacity; n = next + 1) {
        next = res_table_tripped(table, n);

        if (next < n || next - n > 1024) {
            return "no next tripped cell";
        }

        for ( /* void */ ; n < next && n < table->capacity; n++) {
            cell = res_table_cell(table, n);

            if (cell->used && cell->tripped) {
                return "a tripped cell is passed over";
            }
        }

        if (next >= table->capacity) {
            break;
        }

        cell = res_table_cell(table, next);

        if (!cell->used || !cell->tripped) {
            if (next % 64 != 0) {
                return "a cell is not tripped";
            }

            continue;
        }

        if (cell->provider < RES_TABLE_PROVIDERS) {
            of[cell->provider]++;
        }
    }

    for (i = 0; i < RES_TABLE_PROVIDERS; i++) {
        if (of[i] != table->tripped[i]) {
            return "a wrong number of tripped cells";
        }
    }

    return NULL;
}


static const char *
broken_counts(res_table_t *table)
{
    uint32_t               i, n, state;
    res_cell_t            *cell;
    res_table_provider_t  *p;

    static res_table_provider_t  counted[RES_TABLE_PROVIDERS + 1];

    memset(counted, 0, sizeof(counted));

    for (n = 0; n < table->fresh; n++) {
        cell = res_table_cell(table, n);

        if (!cell->used) {
            continue;
        }

        i = cell->provider < RES_TABLE_PROVIDERS ? cell->provider
                                                 : RES_TABLE_PROVIDERS;
        p = &table->providers[i];

        if (cell->epoch != p->epoch) {
            state = p->state;

        } else {
            state = res_breaker_shown(&cell->breaker);
        }

        counted[i].cells[state]++;
    }

    for (i = 0; i <= RES_TABLE_PROVIDERS; i++) {
        if (memcmp(counted[i].cells, table->providers[i].cells,
                   sizeof(counted[i].cells))
            != 0)
        {
            return "a wrong count of a provider's cells";
        }
    }

    return NULL;
}


static const char *
broken(res_table_t *table)
{
    const char     *what;
    unsigned char  *seen;

    seen = calloc(table->capacity, 1);

    what = broken_chains(table, seen);

    if (what == NULL) {
        what = broken_lists(table, seen);
    }

    if (what == NULL) {
        what = broken_rest(table, seen);
    }

    if (what == NULL) {
        what = broken_counts(table);
    }

    if (what == NULL) {
        what = broken_tripped(table);
    }

    free(seen);

    return what;
}


static void
is_sound(res_table_t *table, const char *text)
{
    is_str(broken(table), NULL, "%s: sound", text);
}


static void
test_size(void)
{
    int           wrong, thin;
    size_t        bytes;
    uint32_t      n;
    res_table_t  *table;

    wrong = 0;

    for (bytes = 0; bytes < 100000; bytes++) {
        n = res_table_capacity(bytes);

        wrong += ((n != 0 && res_table_bytes(n) > bytes)
                  || res_table_bytes(n + 1) <= bytes);
    }

    is_int(wrong, 0, "no more cells fit, and no fewer");

    is_int(res_table_capacity(0), 0, "none fits in nothing");
    is_int(res_table_capacity(res_table_bytes(1) - 1), 0, "none fits");
    is_int(res_table_capacity(res_table_bytes(1)), 1, "one fits");

    n = res_table_capacity(8 << 20);
    ok(n > 21300 && n < 30000, "8m hold %u cells", n);

    is_int(res_table_capacity(SIZE_MAX), UINT32_MAX / 2, "a limit of cells");
    is_int(res_table_capacity(res_table_bytes(UINT32_MAX / 2 + 1)),
           UINT32_MAX / 2, "a limit of cells, one less than would fit");
    is_int(res_table_capacity(res_table_bytes(UINT32_MAX / 2 - 1)),
           UINT32_MAX / 2 - 1, "one less than the limit");
    ok(res_table_bytes(UINT32_MAX) / sizeof(res_cell_t) >= UINT32_MAX,
       "the size of the largest");

    thin = 0;

    for (n = 1; n < 300; n++) {
        table = create(n);

        thin += (table->mask + 1 < n || (n > 1 && table->mask + 1 >= 2 * n)
                 || (table->mask & (table->mask + 1)) != 0);

        ok(table->capacity == n && table->used == 0 && table->fresh == 0
           && table->busy == 0 && table->rebuilt == 0
           && table->evictions == 0 && table->evicted_open == 0
           && (uintptr_t) res_table_cell(table, 0) % 8 == 0
           && (char *) res_table_cell(table, n)
              == (char *) table + res_table_bytes(n),
           "a new table of %u", n);

        free(table);
    }

    is_int(thin, 0, "as many buckets as cells, rounded up");
}


static void
test_hash(void)
{
    size_t         i;
    uint16_t       provider;
    uint64_t       hash;
    res_table_t   *table, *other;
    unsigned char  bytes[80], random[16];

    table = create(1);

    for (i = 0; i < sizeof(bytes); i++) {
        bytes[i] = (unsigned char) i;
    }

    for (i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
        provider = (uint16_t) (i | (i + 1) << 8);

        ok(res_table_hash(table, bytes, i, provider) == vectors[i],
           "hash of %zu bytes", i + 2);
    }

    ok(res_table_hash(table, NULL, 0, 0x0100) == vectors[0],
       "hash of no tenant");

    ok(res_table_hash(table, bytes, 70, 1)
       == res_table_hash(table, bytes, RES_TENANT_LEN, 1),
       "no more of a tenant than a key holds");

    /* each bit of the key matters */

    hash = res_table_hash(table, bytes, 5, 1);

    for (i = 0; i < 128; i++) {
        memcpy(random, secret, sizeof(random));
        random[i / 8] ^= 1 << i % 8;

        other = create(1);
        res_table_init(other, 1, random);

        ok(res_table_hash(other, bytes, 5, 1) != hash, "bit %zu of the key",
           i);
        free(other);
    }

    free(table);
}


static void
test_keys(void)
{
    uint32_t      i, n;
    res_key_t     a, b;
    res_cell_t   *cell, *cells[40];
    res_table_t  *table;

    table = create(64);

    for (i = 0; i < 40; i++) {
        is_int(find(table, i) == NULL, 1, "key %u is new", i);

        cells[i] = get(table, i, 1000 + i);
        n = res_table_number(table, cells[i]);

        a = key(table, i);

        ok(n < 64 && res_table_cell(table, n) == cells[i],
           "key %u: its number", i);

        ok(cells[i]->used == 1 && cells[i]->used_at == 1000 + i
           && cells[i]->incarnation == 1 && cells[i]->inflight == 0
           && cells[i]->epoch == 0
           && cells[i]->tripped == 0 && cells[i]->provider == a.provider
           && cells[i]->tenant_len == a.tenant_len
           && cells[i]->hash == a.hash
           && (a.tenant_len == 0
               || memcmp(cells[i]->tenant, a.tenant, a.tenant_len) == 0)
           && cells[i]->breaker.since == 1000 + i
           && cells[i]->breaker.state == RES_CLOSED,
           "key %u: its cell", i);
    }

    is_int(table->used, 40, "all in use");
    is_int(table->evictions, 0, "none given up");
    is_sound(table, "40 keys");

    for (i = 0; i < 40; i++) {
        ok(find(table, i) == cells[i], "key %u is found", i);
        is_int(cells[i]->used_at, 1000 + i, "to be found is no use");

        ok(get(table, i, 2000) == cells[i], "key %u is got again", i);
        is_int(cells[i]->used_at, 2000, "to be got is use");
        is_int(cells[i]->incarnation, 1, "of the same cell");
    }

    is_int(table->used, 40, "no more in use");
    is_sound(table, "40 keys again");

    free(table);

    /* of the same hash, and yet others */

    table = create(8);

    a.tenant = (unsigned char *) "ab\0cd";
    a.tenant_len = 5;
    a.provider = 7;
    a.hash = 42;

    cell = res_table_get(table, &a, 1);

    b = a;
    b.provider = 8;
    ok(res_table_find(table, &b) == NULL, "another provider");

    b = a;
    b.provider = 7 + 256;
    ok(res_table_find(table, &b) == NULL, "another high byte of a provider");

    b = a;
    b.tenant_len = 4;
    ok(res_table_find(table, &b) == NULL, "a shorter tenant");

    b.tenant_len = 0;
    ok(res_table_find(table, &b) == NULL, "no tenant");

    b = a;
    b.tenant = (unsigned char *) "ab\0ce";
    ok(res_table_find(table, &b) == NULL, "another tenant after a NUL");

    b = a;
    b.hash = 42 + 16;
    ok(res_table_find(table, &b) == NULL, "another hash");

    b = a;
    b.tenant = (unsigned char *) "ab\0cdef";
    ok(res_table_find(table, &b) == cell, "the same tenant elsewhere");

    free(table);
}


/* one chain of all cells, and one given up at any place of it */

static void
test_chain(void)
{
    uint32_t      i, gone;
    res_key_t     k;
    res_table_t  *table;

    for (gone = 0; gone < 6; gone++) {
        table = create(6);

        memset(&k, 0, sizeof(res_key_t));
        k.hash = 0x1234;

        for (i = 0; i < 6; i++) {
            k.provider = (uint16_t) i;
            (void) res_table_get(table, &k, i);
        }

        for (i = 0; i < 6; i++) {
            if (i != gone) {
                k.provider = (uint16_t) i;
                (void) res_table_get(table, &k, 100 + i);
            }
        }

        k.provider = 6;
        (void) res_table_get(table, &k, 200);

        for (i = 0; i <= 6; i++) {
            k.provider = (uint16_t) i;
            is_int(res_table_find(table, &k) != NULL, i != gone,
                   "%u of a chain after %u went", i, gone);
        }

        is_sound(table, "a chain");
        free(table);
    }
}


static void
test_recent(void)
{
    uint32_t      i;
    res_cell_t   *cell;
    res_table_t  *table;

    /* in the order of use */

    table = create(10);

    for (i = 0; i < 10; i++) {
        (void) get(table, i, i);
        is_sound(table, "filling");
    }

    for (i = 0; i < 10; i++) {
        (void) get(table, 10 + i, 100 + i);

        ok(find(table, i) == NULL, "%u went", i);
        ok(i == 9 || find(table, i + 1) != NULL, "%u did not", i + 1);
        ok(find(table, 10 + i) != NULL, "%u came", 10 + i);
        is_int(table->evictions, i + 1, "evictions are counted");
        is_sound(table, "giving up");
    }

    is_int(table->evicted_open, 0, "none was open");
    is_int(table->used, 10, "full");

    /* use, unlike being found, makes young: at the tail, inside, at head */

    (void) get(table, 10, 200);
    (void) get(table, 13, 201);
    (void) get(table, 13, 202);
    (void) find(table, 11);

    (void) get(table, 30, 210);
    (void) get(table, 31, 211);
    (void) get(table, 32, 212);

    ok(find(table, 11) == NULL, "found only, and gone");
    ok(find(table, 12) == NULL, "gone");
    ok(find(table, 10) != NULL, "used, and there");
    ok(find(table, 13) != NULL, "used twice, and there");
    ok(find(table, 14) == NULL, "gone instead");
    is_sound(table, "young and old");

    /* a cell with a new key knows nothing of the old one */

    cell = find(table, 15);
    cell->epoch = 7;
    cell->inflight = 3;
    cell->breaker.total_failures = 99;
    cell->breaker.rejected = 99;
    cell->breaker.generation = 99;
    cell->breaker.state = RES_HALF_OPEN;
    res_table_settle(table, cell);
    cell->breaker.state = RES_CLOSED;
    res_table_settle(table, cell);
    cell->inflight = 0;

    i = cell->incarnation;

    while (find(table, 15)) {
        (void) get(table, 1000 + table->evictions, 300);
    }

    ok(cell->incarnation == i + 1 && cell->inflight == 0 && cell->epoch == 0
       && cell->breaker.total_failures == 0 && cell->breaker.rejected == 0
       && cell->breaker.generation == 0 && cell->breaker.since == 300,
       "a cell used again");

    free(table);

    /* one cell is enough */

    table = create(1);

    for (i = 0; i < 5; i++) {
        cell = get(table, i, i);

        ok(find(table, i) == cell, "the only cell");
        is_int(cell->epoch, 0, "of the first epoch");
        cell->epoch = 9;

        is_int(cell->incarnation, i + 1, "again and again");
        is_int(table->evictions, i, "each time given up");

        if (i > 1) {
            cell->inflight = 1;
        }

        if (i == 3) {
            set_state(table, i, RES_OPEN);
        }

        is_sound(table, "one cell");
    }

    is_int(table->evicted_open, 1, "once open");
    is_int(find(table, 4)->tripped, 0, "and closed when used again");

    free(table);
}


/* cells from the oldest on: c closed, C in flight, o open, O in flight,
   f closed by an administrator */

typedef struct {
    const char  *cells;
    uint32_t     victim;
} victim_t;


static const victim_t  victims[] = {
    { "c", 0 },
    { "C", 0 },
    { "o", 0 },
    { "O", 0 },
    { "ccc", 0 },
    { "Ccc", 1 },
    { "CCc", 2 },
    { "CCC", 0 },
    { "cCC", 0 },
    { "CCCCCCCc", 7 },
    { "CCCCCCCcc", 7 },
    { "CCCCCCCCc", 0 },
    { "CCCCCCCCcc", 0 },
    { "CCCCCCCCCC", 0 },
    { "cCCCCCCCCc", 0 },
    { "CCCCcCCCCc", 4 },
    { "oc", 1 },
    { "oC", 1 },
    { "ooooc", 4 },
    { "oooCo", 3 },
    { "ocoCoc", 1 },
    { "oCoc", 3 },
    { "OCOCoC", 1 },
    { "oo", 0 },
    { "Oo", 0 },
    { "OOOo", 0 },
    { "oCCCCCCCCoc", 1 },
    { "oCoCoCoCoCoCoCocc", 15 },
    { "oCoCoCoCoCoCoCoCc", 1 },
    { "fc", 1 },
    { "fC", 1 },
    { "ffofc", 4 },
    { "ff", 0 },
    { "fo", 0 },
    { "of", 0 },
    { "fCCc", 3 }
};


static void
test_victims(void)
{
    char          state;
    size_t        r;
    uint32_t      i, n;
    res_cell_t   *cell;
    res_table_t  *table;

    for (r = 0; r < sizeof(victims) / sizeof(victims[0]); r++) {
        n = (uint32_t) strlen(victims[r].cells);
        table = create(n);

        for (i = 0; i < n; i++) {
            state = victims[r].cells[i];

            cell = get(table, i, i);
            cell->inflight = (state == 'C' || state == 'O') ? 2 : 0;

            if (state == 'o' || state == 'O') {
                set_state(table, i, i % 2 ? RES_OPEN : RES_HALF_OPEN);

            } else if (state == 'f') {
                set_forced(table, i, 1 + i % 3);
            }
        }

        cell = get(table, n, n);

        for (i = 0; i <= n; i++) {
            is_int(find(table, i) != NULL, i != victims[r].victim,
                   "%s: cell %u", victims[r].cells, i);
        }

        state = victims[r].cells[victims[r].victim];

        is_int(table->evictions, 1, "%s: given up", victims[r].cells);
        is_int(table->evicted_open, strchr("oOf", state) != NULL,
               "%s: open", victims[r].cells);
        ok(cell->inflight == 0 && cell->tripped == 0, "%s: the new one",
           victims[r].cells);
        is_sound(table, victims[r].cells);

        free(table);
    }
}


static void
test_settle(void)
{
    uint32_t      i;
    res_table_t  *table;

    table = create(6);

    for (i = 0; i < 6; i++) {
        (void) get(table, i, i);
        res_table_settle(table, find(table, i));
    }

    is_sound(table, "nothing to settle");

    set_state(table, 0, RES_OPEN);
    is_sound(table, "the tail opens");
    is_int(table->head[1], res_table_number(table, find(table, 0)),
           "head of the tripped");

    set_state(table, 3, RES_OPEN);
    is_sound(table, "one inside opens");
    set_state(table, 5, RES_OPEN);
    is_sound(table, "the head opens");

    is_int(table->head[1], res_table_number(table, find(table, 5)),
           "head of the tripped again");
    is_int(table->tail[1], res_table_number(table, find(table, 0)),
           "tail of the tripped");

    set_state(table, 0, RES_HALF_OPEN);
    is_sound(table, "open turns half-open");
    is_int(table->tail[1], res_table_number(table, find(table, 0)),
           "that is no move");

    (void) get(table, 0, 20);
    is_sound(table, "a tripped one is used");
    is_int(table->head[1], res_table_number(table, find(table, 0)),
           "and is the most recent of the tripped");

    set_state(table, 3, RES_CLOSED);
    is_sound(table, "one closes");
    is_int(table->head[0], res_table_number(table, find(table, 3)),
           "head of the closed");

    set_state(table, 5, RES_CLOSED);
    set_state(table, 0, RES_CLOSED);
    is_sound(table, "all close");
    is_int(table->head[1], RES_NO_CELL, "none is tripped");

    for (i = 0; i < 6; i++) {
        set_state(table, i, RES_OPEN);
    }

    is_sound(table, "all open");
    is_int(table->head[0], RES_NO_CELL, "none is closed");

    /* what is forced is kept as what is open */

    for (i = 0; i < 6; i++) {
        set_state(table, i, RES_CLOSED);
    }

    for (i = 1; i < 4; i++) {
        set_forced(table, i, i);
        is_sound(table, "one is forced");
        is_int(table->head[1], res_table_number(table, find(table, i)),
               "forced %u: with the tripped", i);
    }

    for (i = 1; i < 4; i++) {
        set_forced(table, i, RES_FORCED_NONE);
        is_sound(table, "one is forced no more");
        is_int(table->head[0], res_table_number(table, find(table, i)),
               "forced %u no more: with the closed", i);
    }

    is_int(table->head[1], RES_NO_CELL, "none is forced");

    free(table);
}


/* from one tripped cell to the next, over words of 64 */

static void
test_tripped(void)
{
    uint32_t      i;
    res_table_t  *table;

    static const uint32_t  steps[][2] = {
        { 0, 3 }, { 3, 3 }, { 4, 130 }, { 127, 130 }, { 128, 130 },
        { 131, 199 }, { 199, 199 }, { 200, 1216 }, { 1000, 1984 },
        { 1216, 2240 }, { 1984, 2500 }, { 2500, 2500 }, { 2999, 3008 },
        { 3000, 3000 }
    };

    table = create(3000);

    for (i = 0; i < 3000; i++) {
        (void) get(table, i, i);
    }

    set_state(table, 3, RES_OPEN);
    set_forced(table, 130, RES_FORCED_CLOSED);
    set_state(table, 199, RES_HALF_OPEN);
    set_state(table, 2500, RES_OPEN);
    is_sound(table, "some are tripped");

    for (i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        is_int(res_table_tripped(table, steps[i][0]), steps[i][1],
               "from %u on", steps[i][0]);
    }

    restart(table);
    is_sound(table, "after a death");

    free(table);
}


static void
test_enter(void)
{
    res_table_t  *table;

    table = create(4);
    (void) get(table, 1, 1);

    res_table_enter(table);
    is_int(table->busy, 1, "busy inside");
    is_int(table->rebuilt, 0, "not made anew");
    res_table_leave(table);
    is_int(table->busy, 0, "not busy outside");

    res_table_enter(table);
    is_int(table->rebuilt, 0, "not made anew the second time");

    res_table_enter(table);
    is_int(table->busy, 1, "busy after a death");
    is_int(table->rebuilt, 1, "made anew");

    res_table_enter(table);
    is_int(table->rebuilt, 2, "made anew after another death");
    res_table_leave(table);
    is_int(table->busy, 0, "not busy outside");

    res_table_enter(table);
    is_int(table->rebuilt, 2, "made anew once");
    res_table_leave(table);

    is_sound(table, "entered");
    is_int(table->used, 1, "one cell");

    free(table);
}


/* the memory may be mapped anywhere */

static void
test_moved(void)
{
    uint32_t      i;
    res_table_t  *table, *moved;

    table = create(20);

    for (i = 0; i < 30; i++) {
        (void) get(table, i, i);
    }

    moved = malloc(res_table_bytes(20));
    memcpy(moved, table, res_table_bytes(20));
    memset(table, 0xff, res_table_bytes(20));
    free(table);

    is_sound(moved, "moved");
    ok(find(moved, 9) == NULL && find(moved, 10) && find(moved, 29),
       "its keys");

    (void) get(moved, 50, 50);
    ok(find(moved, 10) == NULL && find(moved, 50), "its use");
    is_sound(moved, "moved and used");

    free(moved);
}


/* what the index is made of, in any state but a good one */

static void
scramble(res_table_t *table, int how)
{
    uint32_t     i, junk, *buckets;
    res_cell_t  *cell;

    buckets = (uint32_t *) (table + 1);

    for (i = 0; i <= table->mask; i++) {
        buckets[i] = how == 0 ? RES_NO_CELL : how == 1 ? 0 : number(1 << 30);
    }

    for (i = 0; i < table->capacity; i++) {
        cell = res_table_cell(table, i);
        junk = how == 0 ? RES_NO_CELL : how == 1 ? i : number(1 << 30);

        cell->chain = junk;
        cell->prev = junk;
        cell->next = junk;
        cell->tripped = (uint8_t) junk;
    }

    for (i = 0; i < 2; i++) {
        table->head[i] = how == 1 ? 0 : number(1 << 30);
        table->tail[i] = how == 1 ? 0 : number(1 << 30);
    }

    table->free = how == 1 ? 0 : number(1 << 30);
    table->used = number(1 << 30);
}


static int
is_ordered(res_table_t *table)
{
    int          i;
    uint32_t     n;
    uint64_t     before;
    res_cell_t  *cell;

    for (i = 0; i < 2; i++) {
        before = UINT64_MAX;

        for (n = table->head[i]; n != RES_NO_CELL; n = cell->next) {
            cell = res_table_cell(table, n);

            if (cell->used_at > before) {
                return 0;
            }

            before = cell->used_at;
        }
    }

    return 1;
}


static void
test_rebuild(uint32_t capacity, uint32_t keys, int how, int order)
{
    uint32_t      i, n, lost;
    uint64_t      now;
    res_cell_t   *cell, *kept;
    res_table_t  *table;

    table = create(capacity);

    for (i = 0; i < keys; i++) {
        now = order == 0 ? i : order == 1 ? 1000 - i : order == 2 ? 7
              : number(keys);

        cell = get(table, i, now);
        cell->epoch = i % 5;
        cell->inflight = i % 3;
        cell->breaker.total_failures = i;

        if (i % 4 == 3) {
            set_state(table, i, RES_OPEN + i % 2);

        } else if (i % 16 == 4) {
            set_forced(table, i, 1 + i / 16 % 3);
        }
    }

    n = table->used;

    kept = malloc(capacity * sizeof(res_cell_t));
    memcpy(kept, res_table_cell(table, 0), capacity * sizeof(res_cell_t));

    scramble(table, how);
    restart(table);

    lost = 0;

    for (i = 0; i < capacity; i++) {
        cell = res_table_cell(table, i);

        kept[i].chain = cell->chain;
        kept[i].prev = cell->prev;
        kept[i].next = cell->next;

        if (i >= n) {
            kept[i].tripped = cell->tripped;
        }

        lost += (memcmp(&kept[i], cell, sizeof(res_cell_t)) != 0);
    }

    is_str(broken(table), NULL, "%u of %u made anew (%d, %d): sound", n,
           capacity, how, order);
    is_int(table->used, n, "all in use");
    is_int(lost, 0, "all are what they were");
    is_int(is_ordered(table), 1, "in the order of use");
    is_int(table->rebuilt, 1, "made anew once");

    /* and it goes on */

    for (i = 0; i < 2 * capacity; i++) {
        (void) get(table, 5000 + i, 5000 + i);
    }

    is_sound(table, "in use after that");

    free(kept);
    free(table);
}


static void
test_rebuilds(void)
{
    int       how, order;
    uint32_t  n;

    for (how = 0; how < 3; how++) {
        for (order = 0; order < 4; order++) {

            for (n = 0; n < 20; n++) {
                test_rebuild(n + 1, n, how, order);
            }

            test_rebuild(8, 8, how, order);
            test_rebuild(8, 30, how, order);
            test_rebuild(500, 499, how, order);
        }
    }

    test_rebuild(3000, 3000, 2, 3);
}


/* the order that cells go in after the index was made anew */

static void
test_rebuilt_order(void)
{
    uint32_t      i;
    res_table_t  *table;

    static const uint32_t  order[] = { 3, 0, 6, 1, 5, 2, 4, 7 };

    table = create(8);

    for (i = 0; i < 8; i++) {
        (void) get(table, order[i], 10 + i);
    }

    set_state(table, 0, RES_OPEN);
    set_state(table, 5, RES_HALF_OPEN);

    scramble(table, 2);
    restart(table);

    for (i = 0; i < 8; i++) {
        if (order[i] != 0 && order[i] != 5) {
            ok(find(table, order[i]) != NULL, "%u is there", order[i]);
            (void) get(table, 100 + i, 100 + i);
            ok(find(table, order[i]) == NULL, "%u went in its turn",
               order[i]);
        }
    }

    ok(find(table, 0) && find(table, 5), "the tripped stay");
    is_int(table->evicted_open, 0, "all of them");

    free(table);
}


typedef enum {
    TORN_USED = 0,
    TORN_USED_2,
    TORN_HASH,
    TORN_TENANT,
    TORN_TENANT_LEN,
    TORN_TENANT_LEN_65,
    TORN_TENANT_LEN_255,
    TORN_PROVIDER,
    TORN_STATE,
    TORN_STATE_255,
    TORN_NONE
} torn_e;


static void
tear(res_cell_t *cell, torn_e torn)
{
    switch (torn) {

    case TORN_USED:
        cell->used = 0;
        break;

    case TORN_USED_2:
        cell->used = 2;
        break;

    case TORN_HASH:
        cell->hash ^= (uint64_t) 1 << 63;
        break;

    case TORN_TENANT:
        cell->tenant[0] ^= 1;
        break;

    case TORN_TENANT_LEN:
        cell->tenant_len--;
        break;

    case TORN_TENANT_LEN_65:
        cell->tenant_len = 65;
        cell->tenant[0] ^= 1;
        break;

    case TORN_TENANT_LEN_255:
        cell->tenant_len = 255;
        break;

    case TORN_PROVIDER:
        cell->provider ^= 0x8000;
        break;

    case TORN_STATE:
        cell->breaker.state = 3;
        break;

    case TORN_STATE_255:
        cell->breaker.state = 255;
        break;

    case TORN_NONE:
        break;
    }
}


/* a cell that isn't one is no more in use, and then used again */

static void
test_torn(void)
{
    int           torn;
    uint32_t      i, k, incarnation;
    res_cell_t   *cell;
    res_table_t  *table;

    for (torn = 0; torn <= TORN_NONE; torn++) {
        for (k = 0; k < 10; k++) {
            table = create(10);

            for (i = 0; i < 8; i++) {
                (void) get(table, 8 * i + 3, i);
            }

            if (k > 7) {
                free(table);
                continue;
            }

            cell = find(table, 8 * k + 3);
            incarnation = cell->incarnation;

            tear(cell, torn);
            restart(table);

            is_sound(table, "torn");
            is_int(table->used, torn == TORN_NONE ? 8 : 7, "one is gone");
            is_int(table->evictions, 0, "that is no eviction");

            for (i = 0; i < 8; i++) {
                is_int(find(table, 8 * i + 3) != NULL,
                       i != k || torn == TORN_NONE,
                       "torn in way %d: %u of %u", torn, i, k);
            }

            /* there is place for as many as before */

            for (i = 0; i < 2 + (torn != TORN_NONE); i++) {
                (void) get(table, 100 + i, 100 + i);
                is_sound(table, "torn, then used");
            }

            is_int(table->used, 10, "full");
            is_int(table->evictions, 0, "and none went for it");
            is_int(cell->incarnation, incarnation + (torn != TORN_NONE),
                   "another incarnation");

            free(table);
        }
    }
}


/* bytes of cells that are anything: no crash, and what is left is usable */

static void
test_garbage(void)
{
    int                 round, bad;
    uint32_t            i, k, n, at;
    res_cell_t         *cell;
    res_table_t        *table;
    res_permit_t        permit;
    res_report_t        report;
    unsigned char      *p;
    res_transition_t    t;
    res_breaker_conf_t  conf;

    memset(&conf, 0, sizeof(res_breaker_conf_t));
    conf.failures = 3;
    conf.error_rate = 50;
    conf.slow_rate = 50;
    conf.min_calls = 5;
    conf.ramp = 50;
    conf.open = 100;
    conf.open_max = 1000;
    conf.probes = 2;
    conf.successes = 2;

    bad = 0;

    for (round = 0; round < 2000; round++) {
        table = create(16);

        for (i = 0; i < 16; i++) {
            (void) get(table, i, i);
        }

        n = number(20);

        for (i = 0; i < n; i++) {
            cell = res_table_cell(table, number(16));
            p = (unsigned char *) cell;
            at = (round % 2) ? offsetof(res_cell_t, breaker) : 0;

            for (k = number(16); k; k--) {
                p[at + number(sizeof(res_cell_t) - at)]
                    = (unsigned char) number(256);
            }
        }

        scramble(table, 2);
        restart(table);

        bad += (broken(table) != NULL);

        for (i = 0; i < 200; i++) {
            cell = get(table, number(32), i);
            conf.window = number(300);

            if (number(20) == 0) {
                res_breaker_force(&cell->breaker, number(4), i, &t);
                res_table_settle(table, cell);
            }

            if (res_breaker_admit(&cell->breaker, &conf, i, 10, number(1000),
                                  &permit, &t)
                == RES_ADMIT_YES)
            {
                res_table_settle(table, cell);

                memset(&report, 0, sizeof(res_report_t));
                report.result = number(2);
                report.first = 1;

                if (number(3) == 0) {
                    res_breaker_slow(&cell->breaker, &conf, i, &permit,
                                     &report, &t);
                    res_table_settle(table, cell);
                }

                /* the ring is anything by then */

                for (k = number(3); k; k--) {
                    at = offsetof(res_cell_t, breaker)
                         + offsetof(res_breaker_t, failed);

                    ((unsigned char *) cell)[at + number(80)]
                        = (unsigned char) number(256);
                }

                res_table_settle(table, cell);

                (void) res_breaker_record(&cell->breaker, &conf, i, &permit,
                                          &report, &t);
            }

            res_table_settle(table, cell);
        }

        bad += (broken(table) != NULL);

        free(table);
    }

    is_int(bad, 0, "garbage of any kind");
}


/*
 * Copies.  Cells are letters, from the oldest on, an upper case one is not
 * closed (open, half-open or forced); "a" is of provider 0, "b" of 1, "c" of
 * 2, "d" of 0 again and so on.  What is copied is said from the most recent
 * one on, those that are not closed, a blank, and those that are.
 */

typedef struct {
    const char  *cells;
    uint32_t     capacity;
    const char  *kept;
    const char  *providers;         /* of the copy; '-': not known there */
} copy_t;


static const copy_t  copies[] = {

    /* as large, larger, smaller */

    { "a", 1, " a", "012" },
    { "A", 1, "A ", "012" },
    { "", 3, " ", "012" },
    { "abc", 3, " cba", "012" },
    { "abc", 9, " cba", "012" },
    { "abc", 2, " cb", "012" },
    { "abc", 1, " c", "012" },
    { "ABC", 3, "CBA ", "012" },
    { "ABC", 8, "CBA ", "012" },
    { "ABC", 2, "CB ", "012" },
    { "aBcDe", 5, "DB eca", "012" },
    { "aBcDe", 50, "DB eca", "012" },
    { "aBcDe", 4, "DB ec", "012" },
    { "aBcDe", 3, "DB e", "012" },
    { "aBcDe", 2, "DB ", "012" },
    { "aBcDe", 1, "D ", "012" },
    { "Abcde", 1, "A ", "012" },
    { "Abcde", 2, "A e", "012" },
    { "abcdE", 2, "E d", "012" },
    { "AbCdEfGhIjKl", 6, "KIGECA ", "012" },
    { "AbCdEfGhIjKl", 7, "KIGECA l", "012" },
    { "AbCdEfGhIjKl", 5, "KIGEC ", "012" },
    { "AbCdEfGhIjKl", 12, "KIGECA ljhfdb", "012" },

    /* providers have another number, or none */

    { "abcdef", 6, " fedcba", "120" },
    { "abcdef", 6, " fedcba", "987" },
    { "abcdef", 6, " fecb", "-01" },
    { "abcdef", 6, " fdca", "0-1" },
    { "abcdef", 6, " edba", "01-" },
    { "abcdef", 6, " eb", "-0-" },
    { "abcdef", 6, " ", "---" },
    { "abcdef", 6, " edba", "01" },
    { "abcdef", 6, " da", "3" },
    { "abcdef", 6, " ", "" },

    /* what is not known takes no one's place */

    { "abcdef", 2, " fd", "0-1" },
    { "abcdef", 3, " fdc", "0-1" },
    { "aBcDeF", 2, "FD ", "0-1" },
    { "aBcDeF", 3, "FD c", "0-1" },
    { "ABCDEF", 3, "FEC ", "-01" },
    { "ABCDEF", 1, "E ", "-0" }
};


static const unsigned char  other_secret[16] = {
    99, 8, 7, 6, 5, 4, 3, 2, 1, 0, 1, 2, 3, 4, 5, 6
};


static res_key_t
letter_key(const res_table_t *table, const unsigned char *letter,
    uint16_t provider)
{
    res_key_t  k;

    k.tenant = letter;
    k.tenant_len = 1;
    k.provider = provider;
    k.hash = res_table_hash(table, k.tenant, k.tenant_len, k.provider);

    return k;
}


static uint16_t
letter_provider(unsigned char letter)
{
    return (uint16_t) (((letter | 0x20) - 'a') % 3);
}


/* the lists of a table as letters */

static void
letters(res_table_t *table, char *text)
{
    int          list;
    uint32_t     n;
    res_cell_t  *cell;

    for (list = 1; list >= 0; list--) {

        for (n = table->head[list]; n != RES_NO_CELL; n = cell->next) {
            cell = res_table_cell(table, n);
            *text++ = (char) cell->tenant[0];
        }

        if (list == 1) {
            *text++ = ' ';
        }
    }

    *text = '\0';
}


static void
test_copy(const copy_t *row, int same)
{
    char            text[64];
    size_t          bytes;
    uint16_t        providers[3];
    uint32_t        i, n;
    res_key_t       k;
    res_cell_t     *cell, *old;
    const char     *p;
    res_table_t    *table, *from, *before;
    unsigned char   letter;

    for (i = 0; row->providers[i]; i++) {
        providers[i] = (row->providers[i] == '-')
                       ? RES_NO_PROVIDER
                       : (uint16_t) (1000 * (row->providers[i] - '0'));
    }

    n = i;

    from = create((uint32_t) strlen(row->cells) + 1);

    /* the cells' numbers are the other way round */

    for (p = row->cells + strlen(row->cells); p-- > row->cells; /* void */) {
        letter = (unsigned char) *p;
        k = letter_key(from, &letter, letter_provider(letter));
        (void) res_table_get(from, &k, 1);
    }

    for (p = row->cells; *p; p++) {
        letter = (unsigned char) *p;
        k = letter_key(from, &letter, letter_provider(letter));

        cell = res_table_get(from, &k, same ? 1 : 10 + (p - row->cells));

        cell->inflight = 3;
        cell->epoch = 40u + letter;
        cell->breaker.total_failures = 100 + letter;
        cell->breaker.generation = letter;

        if (letter >= 'a') {
            continue;
        }

        switch (k.provider) {

        case 0:
            cell->breaker.state = RES_OPEN;
            break;

        case 1:
            cell->breaker.state = RES_HALF_OPEN;
            cell->breaker.leases[2] = 77;
            break;

        default:
            cell->breaker.forced = 1 + letter / 3 % 3;
            break;
        }

        res_table_settle(from, cell);
    }

    bytes = res_table_bytes(from->capacity);
    before = malloc(bytes);
    memcpy(before, from, bytes);

    table = create(row->capacity);
    res_table_init(table, row->capacity, other_secret);

    res_table_enter(from);
    res_table_copy(table, from, providers, n);
    res_table_leave(from);

    ok(memcmp(before, from, bytes) == 0, "%s: is what it was", row->cells);

    letters(table, text);
    is_str(text, row->kept, "%s, %s, to %u", row->cells, row->providers,
           row->capacity);
    is_sound(table, "a copy");
    ok(table->busy == 0 && table->rebuilt == 0 && table->evictions == 0
       && table->used == strlen(row->kept) - 1, "as a new one that was used");

    for (p = row->kept; *p; p++) {

        if (*p == ' ') {
            continue;
        }

        letter = (unsigned char) *p;
        i = letter_provider(letter);

        k = letter_key(from, &letter, (uint16_t) i);
        old = res_table_find(from, &k);

        k = letter_key(table, &letter, providers[i]);
        cell = res_table_find(table, &k);

        ok(old && cell
           && memcmp(&cell->breaker, &old->breaker, sizeof(res_breaker_t)) == 0
           && cell->epoch == old->epoch && cell->used_at == old->used_at
           && cell->inflight == 0 && cell->incarnation == 1
           && cell->tripped == old->tripped
           && cell->provider == providers[i],
           "%s to %u: %c", row->cells, row->capacity, letter);
    }

    free(before);
    free(table);
    free(from);
}


static void
test_copies(void)
{
    size_t  i;

    for (i = 0; i < sizeof(copies) / sizeof(copies[0]); i++) {
        test_copy(&copies[i], 0);
        test_copy(&copies[i], 1);
    }
}


/* many cells, used at random times, as the table kept them */

static void
test_large_copy(uint32_t capacity, uint32_t larger)
{
    int           list, bad;
    uint32_t      i, n, kept;
    res_key_t     k;
    res_cell_t   *cell, *copy;
    res_table_t  *from, *table;

    static const uint16_t  providers[] = { 2, RES_NO_PROVIDER, 0, 1 };

    char  tenant[16];

    from = create(capacity);
    table = create(larger);
    res_table_init(table, larger, other_secret);

    seed = capacity + larger;

    for (i = 0; i < 3 * capacity; i++) {
        (void) snprintf(tenant, sizeof(tenant), "tenant %u",
                        number(2 * capacity));

        k.tenant = (unsigned char *) tenant;
        k.tenant_len = (uint8_t) strlen(tenant);
        k.provider = (uint16_t) number(5);
        k.hash = res_table_hash(from, k.tenant, k.tenant_len, k.provider);

        cell = res_table_get(from, &k, 1000 + i / 7);
        cell->inflight = number(2);
        cell->epoch = number(1000);
        cell->credential = number(2) ? number(1000) : 0;
        cell->breaker.state = number(3) ? RES_CLOSED : RES_OPEN;
        cell->breaker.total_successes = i;

        res_table_settle(from, cell);
    }

    res_table_enter(from);
    res_table_copy(table, from, providers, 4);
    res_table_leave(from);

    is_sound(table, "a large copy");

    bad = 0;
    kept = 0;

    for (list = 1; list >= 0; list--) {
        n = table->head[list];

        for (i = from->head[list]; i != RES_NO_CELL; i = cell->next) {
            cell = res_table_cell(from, i);

            if (cell->provider == 1 || cell->provider == 4
                || kept == larger)
            {
                continue;
            }

            if (n == RES_NO_CELL) {
                bad++;
                break;
            }

            copy = res_table_cell(table, n);
            n = copy->next;
            kept++;

            bad += (copy->tenant_len != cell->tenant_len
                    || memcmp(copy->tenant, cell->tenant, cell->tenant_len)
                    || copy->provider != providers[cell->provider]
                    || copy->used_at != cell->used_at
                    || copy->epoch != cell->epoch || copy->inflight != 0
                    || copy->credential != cell->credential
                    || memcmp(&copy->breaker, &cell->breaker,
                              sizeof(res_breaker_t)));
        }

        bad += (n != RES_NO_CELL);
    }

    ok(bad == 0 && kept == table->used,
       "%u cells to %u: %u, each as it was and in the order of use",
       capacity, larger, kept);

    free(from);
    free(table);
}


/* a copy of a table whose lock's holder had died, and into one in use */

static void
test_other_copies(void)
{
    uint32_t         i;
    res_key_t        k;
    res_table_t     *from, *table;
    unsigned char    letter;

    static const uint16_t  providers[] = { 0, 1, 2 };

    char  text[64];

    from = create(8);

    for (letter = 'a'; letter < 'g'; letter++) {
        k = letter_key(from, &letter, letter_provider(letter));
        (void) res_table_get(from, &k, letter);
    }

    scramble(from, 2);
    from->busy = 1;

    table = create(8);
    res_table_init(table, 8, other_secret);

    res_table_enter(from);
    res_table_copy(table, from, providers, 3);
    res_table_leave(from);

    letters(table, text);
    is_str(text, " fedcba", "a copy after a death");
    is_sound(table, "a copy after a death");
    free(table);

    /* what is there stays */

    table = create(4);
    res_table_init(table, 4, other_secret);

    for (i = 0; i < 2; i++) {
        letter = (unsigned char) ('x' + i);
        k = letter_key(table, &letter, 0);
        (void) res_table_get(table, &k, 1);
    }

    res_table_enter(from);
    res_table_copy(table, from, providers, 3);
    res_table_leave(from);

    letters(table, text);
    is_str(text, " feyx", "a copy into one in use");
    is_int(table->evictions, 0, "none went for it");
    is_sound(table, "a copy into one in use");

    res_table_enter(from);
    res_table_copy(table, from, providers, 3);
    res_table_leave(from);

    letters(table, text);
    is_str(text, " feyx", "a copy into a full one");
    is_sound(table, "a copy into a full one");

    free(table);
    free(from);
}


/*
 * The states that cells are counted in: by what is done to each, and by words
 * about all of a provider, which reach a cell when it is looked at.
 */

#define COUNT_PROVIDERS  4
#define COUNT_TENANTS    20
#define COUNT_CELLS      50


static res_key_t
count_key(const res_table_t *table, uint32_t tenant, uint32_t provider)
{
    res_key_t             k;
    static unsigned char  letter;

    letter = (unsigned char) tenant;

    k.tenant = &letter;
    k.tenant_len = 1;
    k.provider = (uint16_t) provider;
    k.hash = res_table_hash(table, k.tenant, 1, k.provider);

    return k;
}


/* one thing to one cell, as its users do it */

static void
count_change(res_table_t *table, uint64_t now)
{
    uint32_t               provider, before, counts[RES_BREAKER_STATES];
    res_key_t              k;
    res_cell_t            *cell;
    res_transition_t       t;
    res_table_provider_t  *p;

    provider = number(COUNT_PROVIDERS);
    p = &table->providers[provider];

    k = count_key(table, number(COUNT_TENANTS), provider);
    cell = res_table_get(table, &k, now);

    memcpy(counts, p->cells, sizeof(counts));

    if (cell->epoch != p->epoch) {
        cell->epoch = p->epoch;
        res_breaker_reset(&cell->breaker, now, &t);
        res_breaker_force(&cell->breaker,
                          p->state == RES_OPEN ? RES_FORCED_OPEN
                                               : RES_FORCED_NONE, now, &t);
        before = res_table_settle(table, cell);

        ok(before == p->state && cell->counted == before
           && memcmp(counts, p->cells, sizeof(counts)) == 0,
           "a late cell is where it was counted");
    }

    if (number(3)) {
        cell->breaker.state = (uint8_t) number(3);

    } else {
        res_breaker_force(&cell->breaker, number(4), now, &t);
    }

    before = res_table_settle(table, cell);

    counts[before]--;
    counts[cell->counted]++;

    ok(memcmp(counts, p->cells, sizeof(counts)) == 0
       && cell->counted == res_breaker_shown(&cell->breaker),
       "from %s to %s", res_breaker_state_name(before),
       res_breaker_state_name(cell->counted));
}


static void
count_epoch(res_table_t *table)
{
    uint32_t               all, i, state;
    uint32_t               moved[RES_BREAKER_STATES];
    uint32_t               counts[RES_BREAKER_STATES];
    res_table_provider_t  *p;

    p = &table->providers[number(COUNT_PROVIDERS)];
    state = number(2);

    memcpy(counts, p->cells, sizeof(counts));

    res_table_epoch(table, (uint16_t) (p - table->providers), p->epoch + 1,
                    state, number(2) ? moved : NULL);

    all = 0;

    for (i = 0; i < RES_BREAKER_STATES; i++) {
        all += counts[i];
    }

    is_int(p->cells[state], all, "all of them went");

    res_table_epoch(table, (uint16_t) (p - table->providers), p->epoch, state,
                    moved);
    is_int(moved[0] + moved[1] + moved[2], 0, "once");

    memset(counts, 0, sizeof(counts));
    counts[state] = all;
    ok(memcmp(counts, p->cells, sizeof(counts)) == 0, "and are there");
}


static void
count_copy(res_table_t *table)
{
    uint32_t      i;
    res_table_t  *copy;

    static const uint16_t  providers[] = { 3, RES_NO_PROVIDER, 1, 2 };

    copy = create(30);

    for (i = 0; i < COUNT_PROVIDERS; i++) {
        if (providers[i] != RES_NO_PROVIDER) {
            res_table_epoch(copy, providers[i], table->providers[i].epoch,
                            table->providers[i].state, NULL);
        }
    }

    res_table_copy(copy, table, providers, COUNT_PROVIDERS);
    is_sound(copy, "a copy of what is counted");
    is_int(copy->providers[0].cells[RES_CLOSED], 0, "of those that it has");

    free(copy);
}


static void
test_counts(void)
{
    uint32_t               i;
    uint64_t               now;
    res_table_t           *table;
    res_table_provider_t   high;

    table = create(COUNT_CELLS);

    for (now = 1; now <= 3000; now++) {

        res_table_enter(table);

        count_change(table, now);

        if (number(50) == 0) {
            count_epoch(table);
        }

        if (number(300) == 0) {
            count_copy(table);
        }

        res_table_leave(table);

        if (number(100) == 0) {
            restart(table);
        }

        is_str(broken_counts(table), NULL, "counts after %u", (unsigned) now);
    }

    ok(table->evictions > 1000, "some were given up");
    free(table);

    /* of those that have no count of their own */

    table = create(4);

    for (i = 0; i < 4; i++) {
        (void) get(table, 8 * (i + 1) + 1, 1);
    }

    high = *res_table_provider(table, 257);
    is_int(high.cells[RES_CLOSED], 4, "high numbers are counted together");
    is_int(res_table_provider(table, RES_TABLE_PROVIDERS)->cells[0], 4,
           "from the first of them");
    is_int(res_table_provider(table, RES_TABLE_PROVIDERS - 1)->cells[0], 0,
           "and not before");
    free(table);
}


/*
 * The model: keys with the time of their last use, looked through from one
 * end to the other.
 */

typedef struct {
    int       in;
    int       open;
    uint64_t  used_at;
    uint64_t  recent;               /* used, or opened, or closed */
    uint32_t  inflight;
    uint32_t  number;
    uint32_t  incarnation;
    uint64_t  mark;
    uint32_t  epoch;
} entry_t;


typedef struct {
    entry_t   entries[KEYS];
    uint32_t  capacity;
    uint32_t  used;
    uint64_t  evictions;
    uint64_t  evicted_open;
} model_t;


/* the oldest that came after a time, open or not: its key, or -1 */

static int
model_oldest(const model_t *m, int open, uint64_t after)
{
    int  i, oldest;

    oldest = -1;

    for (i = 0; i < KEYS; i++) {
        if (m->entries[i].in && m->entries[i].open == open
            && m->entries[i].recent > after
            && (oldest == -1
                || m->entries[i].recent < m->entries[oldest].recent))
        {
            oldest = i;
        }
    }

    return oldest;
}


static void
model_evict(model_t *m)
{
    int       i, victim;
    uint64_t  after;

    after = 0;

    for (i = 0; i < 8; i++) {
        victim = model_oldest(m, 0, after);

        if (victim == -1 || m->entries[victim].inflight == 0) {
            break;
        }

        after = m->entries[victim].recent;
    }

    if (i == 8 || victim == -1) {
        victim = model_oldest(m, 0, 0);
    }

    if (victim == -1) {
        victim = model_oldest(m, 1, 0);
        m->evicted_open++;
    }

    m->evictions++;
    m->entries[victim].in = 0;
    m->used--;
}


static const char *
model_get(model_t *m, res_table_t *table, int k, uint64_t now)
{
    entry_t     *e;
    uint32_t     incarnations[KEYS];
    res_cell_t  *cell;

    uint32_t  i;

    e = &m->entries[k];

    for (i = 0; i < m->capacity; i++) {
        incarnations[i] = res_table_cell(table, i)->incarnation;
    }

    cell = get(table, (uint32_t) k, now);
    i = res_table_number(table, cell);

    e->used_at = now;
    e->recent = now;

    if (e->in) {
        return i == e->number ? NULL : "another cell";
    }

    if (m->used == m->capacity) {
        model_evict(m);
    }

    e->in = 1;
    e->open = 0;
    e->inflight = 0;
    e->mark = 0;
    e->epoch = 0;
    e->number = i;
    e->incarnation = incarnations[i] + 1;

    m->used++;

    return NULL;
}


static const char *
model_differs(const model_t *m, res_table_t *table)
{
    int             i;
    res_cell_t     *cell;
    const entry_t  *e;

    if (table->used != m->used || table->evictions != m->evictions
        || table->evicted_open != m->evicted_open)
    {
        return "counters";
    }

    for (i = 0; i < KEYS; i++) {
        e = &m->entries[i];
        cell = find(table, (uint32_t) i);

        if ((cell != NULL) != e->in) {
            return "keys";
        }

        if (cell == NULL) {
            continue;
        }

        if (res_table_number(table, cell) != e->number
            || cell->incarnation != e->incarnation
            || cell->used_at != e->used_at || cell->inflight != e->inflight
            || cell->breaker.total_failures != e->mark
            || cell->epoch != e->epoch)
        {
            return "cells";
        }
    }

    return broken(table);
}


static void
test_model(uint32_t capacity)
{
    int           step, k, known, bad;
    entry_t      *e;
    model_t       m;
    uint64_t      now;
    res_cell_t   *cell;
    const char   *differs;
    res_table_t  *table;

    memset(&m, 0, sizeof(model_t));
    m.capacity = capacity;

    table = create(capacity);
    seed = capacity * 7919 + 1;
    differs = NULL;
    now = 1;
    known = 50;
    bad = 50;

    for (step = 0; step < 20000 && differs == NULL; step++) {

        now++;

        if (number(400) == 0) {
            known = (int) (number(3) ? number(101) : 99 - number(5));
            bad = (int) (number(3) ? number(101) : 100);
        }

        k = (int) number(KEYS);

        while ((int) number(100) < known && m.used && !m.entries[k].in) {
            k = (int) number(KEYS);
        }

        e = &m.entries[k];
        cell = e->in ? find(table, (uint32_t) k) : NULL;

        res_table_enter(table);

        switch (number(cell ? 4 : 1)) {

        case 0:
            differs = model_get(&m, table, k, now);
            break;

        case 1:
            if (e->inflight && number(3) == 0) {
                e->inflight = 0;

            } else {
                e->inflight++;
            }

            cell->inflight = e->inflight;
            break;

        case 2:
            e->mark = now;
            e->epoch = number(5);
            cell->breaker.total_failures = now;
            cell->epoch = e->epoch;
            res_table_settle(table, cell);
            break;

        default:
            cell->breaker.state = ((int) number(100) < bad)
                                  ? RES_OPEN + number(2) : RES_CLOSED;
            cell->breaker.forced = ((int) number(500) < bad)
                                   ? 1 + number(3) : RES_FORCED_NONE;

            if (e->open != (cell->breaker.state != RES_CLOSED
                            || cell->breaker.forced != RES_FORCED_NONE))
            {
                e->open = !e->open;
                e->recent = now;
            }

            res_table_settle(table, cell);
        }

        if (number(100) == 0) {

            /* dies here; then only the use counts */

            scramble(table, (int) number(3));
            res_table_enter(table);

            for (k = 0; k < KEYS; k++) {
                m.entries[k].recent = m.entries[k].used_at;
            }
        }

        res_table_leave(table);

        if (differs == NULL) {
            differs = model_differs(&m, table);
        }
    }

    ok(differs == NULL, "like the model, %u cells: %s at step %d", capacity,
       differs ? differs : "nothing else", step);
    ok(table->evictions > 1000, "%u cells: often enough given up", capacity);
    ok(capacity > 20 || table->evicted_open > 20,
       "%u cells: often enough while open", capacity);
    ok(table->rebuilt > 100, "%u cells: often enough made anew", capacity);

    free(table);
}


/*
 * A holder of the lock that is killed, at each of its instructions: a child
 * goes through it step by step, and after every step that wrote something
 * the next holder of the lock comes to a copy of the table.
 */

#define DEATH_CELLS  4
#define DEATH_KEYS   6


typedef struct {
    const char  *name;
    void       (*prepare)(res_table_t *table);
    void       (*act)(res_table_t *table);
    unsigned     before;            /* bits of the keys that are in */
    unsigned     after;
    unsigned     touched;           /* whose breakers may be any */
} death_t;


static void
prepare_some(res_table_t *table, uint32_t keys)
{
    uint32_t     i;
    res_cell_t  *cell;

    res_table_init(table, DEATH_CELLS, secret);

    for (i = 0; i < keys; i++) {
        cell = get(table, i, i);
        cell->breaker.total_failures = 100 + i;
        cell->inflight = 10 + i;
    }
}


static void
prepare_none(res_table_t *table)
{
    prepare_some(table, 0);
}


static void
prepare_two(res_table_t *table)
{
    prepare_some(table, 2);
}


static void
prepare_full(res_table_t *table)
{
    prepare_some(table, 4);
}


static void
prepare_tripped(res_table_t *table)
{
    uint32_t  i;

    prepare_some(table, 4);

    for (i = 0; i < 4; i++) {
        set_state(table, i, RES_OPEN);
    }
}


/* one cell below "fresh" that is free */

static void
prepare_free(res_table_t *table)
{
    prepare_some(table, 4);

    find(table, 2)->used = 0;
    restart(table);
}


static void
prepare_dead(res_table_t *table)
{
    prepare_some(table, 4);

    find(table, 2)->hash++;
    set_state(table, 1, RES_OPEN);
    scramble(table, 2);

    table->busy = 1;
}


static void
act_get(res_table_t *table, uint32_t n)
{
    res_table_enter(table);
    (void) get(table, n, 100);
    res_table_leave(table);
}


static void
act_get_0(res_table_t *table)
{
    act_get(table, 0);
}


static void
act_get_5(res_table_t *table)
{
    act_get(table, 5);
}


static void
act_restart(res_table_t *table)
{
    res_table_enter(table);
    res_table_leave(table);
}


/* opens the breaker of key 1, half-opens it, and closes it */

static void
act_breaker(res_table_t *table)
{
    res_cell_t          *cell;
    res_report_t         report;
    res_permit_t         permit;
    res_transition_t     t;
    res_breaker_conf_t   conf;

    memset(&conf, 0, sizeof(res_breaker_conf_t));
    conf.failures = 1;
    conf.window = 100;
    conf.open = 10;

    memset(&report, 0, sizeof(res_report_t));
    report.result = RES_RESULT_FAILURE;
    report.first = 1;

    res_table_enter(table);

    cell = get(table, 1, 100);

    (void) res_breaker_admit(&cell->breaker, &conf, 100, 10, 0, &permit, &t);
    res_breaker_slow(&cell->breaker, &conf, 100, &permit, &report, &t);
    (void) res_breaker_record(&cell->breaker, &conf, 100, &permit, &report,
                              &t);
    res_table_settle(table, cell);

    conf.window = 200;
    report.result = RES_RESULT_SUCCESS;

    (void) res_breaker_admit(&cell->breaker, &conf, 200, 10, 0, &permit, &t);
    (void) res_breaker_record(&cell->breaker, &conf, 200, &permit, &report,
                              &t);
    res_table_settle(table, cell);

    res_table_leave(table);
}


/* an administrator opens it, disables it, and lets it be */

static void
act_force(res_table_t *table)
{
    res_cell_t        *cell;
    res_transition_t   t;

    res_table_enter(table);

    cell = get(table, 1, 100);
    cell->epoch++;

    res_breaker_force(&cell->breaker, RES_FORCED_OPEN, 100, &t);
    res_table_settle(table, cell);

    res_breaker_force(&cell->breaker, RES_FORCED_DISABLED, 100, &t);
    res_table_settle(table, cell);

    res_breaker_force(&cell->breaker, RES_FORCED_NONE, 100, &t);
    res_table_settle(table, cell);

    res_breaker_rest(&cell->breaker, 100, 50);
    res_breaker_reset(&cell->breaker, 100, &t);
    res_table_settle(table, cell);

    res_table_leave(table);
}


static const death_t  deaths[] = {
    { "a first key", prepare_none, act_get_5, 0x00, 0x20, 0 },
    { "a new key", prepare_two, act_get_5, 0x03, 0x23, 0 },
    { "a known key", prepare_full, act_get_0, 0x0f, 0x0f, 0 },
    { "a key for another", prepare_full, act_get_5, 0x0f, 0x2e, 0 },
    { "a key for an open one", prepare_tripped, act_get_5, 0x0f, 0x2e, 0 },
    { "a key in a free cell", prepare_free, act_get_5, 0x0b, 0x2b, 0 },
    { "a breaker", prepare_full, act_breaker, 0x0f, 0x0f, 0x02 },
    { "a forced breaker", prepare_full, act_force, 0x0f, 0x0f, 0x02 },
    { "a forced and open one", prepare_tripped, act_force, 0x0f, 0x0f, 0x02 },
    { "the index", prepare_dead, act_restart, 0x0b, 0x0b, 0 },
    { "the index and a key", prepare_dead, act_get_5, 0x0b, 0x2b, 0 }
};


/* what the next holder of the lock finds, and if it can work with it */

static const char *
death_check(const death_t *d, res_table_t *table)
{
    uint32_t     i, found;
    const char  *what;
    res_cell_t  *cell;

    res_table_enter(table);

    what = broken(table);
    if (what) {
        return what;
    }

    found = 0;

    for (i = 0; i < DEATH_KEYS; i++) {
        cell = find(table, i);

        if (cell == NULL) {
            continue;
        }

        found |= 1u << i;

        if (i == 5) {
            if (cell->breaker.total_failures != 0 || cell->inflight != 0
                || cell->breaker.state != RES_CLOSED
                || cell->breaker.since != 100)
            {
                return "a new key in an old cell";
            }

        } else if (cell->inflight != 10 + i
                   || (!(d->touched & 1u << i)
                       && cell->breaker.total_failures != 100 + i))
        {
            return "an old key in a new cell";
        }

        /* closed, open, half-open, closed: 0, 1, 2, 3, and never less */

        if (i == 1 && d->act == act_breaker
            && cell->breaker.generation == (cell->breaker.state + 2u) % 3)
        {
            return "a new state of an old generation";
        }
    }

    if ((found & d->before & d->after) != (d->before & d->after)
        || (found & ~(d->before | d->after)) != 0)
    {
        return "wrong keys";
    }

    act_breaker(table);

    for (i = 0; i < 3 * DEATH_CELLS; i++) {
        (void) get(table, 100 + i, 1000 + i);
    }

    if (table->used != DEATH_CELLS) {
        return "fewer cells than before";
    }

    res_table_leave(table);

    return broken(table);
}


static void
death_child(const death_t *d, res_table_t *table)
{
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) == -1) {
        _exit(2);
    }

    (void) raise(SIGSTOP);

    d->act(table);

    (void) raise(SIGSTOP);

    _exit(1);
}


static void
test_death(const death_t *d)
{
    int           status, stops;
    pid_t         pid;
    size_t        bytes;
    uint32_t      writes, found, i;
    const char   *what;
    res_table_t  *table, *seen, *copy;

    bytes = res_table_bytes(DEATH_CELLS);

    table = mmap(NULL, bytes, PROT_READ|PROT_WRITE, MAP_SHARED|MAP_ANONYMOUS,
                 -1, 0);
    seen = malloc(bytes);
    copy = malloc(bytes);

    d->prepare(table);
    memcpy(seen, table, bytes);

    (void) fflush(stdout);

    pid = fork();

    if (pid == 0) {
        death_child(d, table);
    }

    status = 0;
    writes = 0;
    stops = 0;
    what = NULL;

    while (waitpid(pid, &status, 0) == pid && WIFSTOPPED(status)) {

        /* before and after the act */

        if (WSTOPSIG(status) == SIGSTOP && ++stops == 2) {
            (void) kill(pid, SIGKILL);
            continue;
        }

        if (what == NULL && memcmp(table, seen, bytes) != 0) {
            memcpy(seen, table, bytes);
            memcpy(copy, table, bytes);

            what = death_check(d, copy);
            writes++;
        }

        (void) ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL);
    }

    if (pid == -1 || (WIFEXITED(status) && WEXITSTATUS(status) == 2)) {
        ok(1, "death over %s # SKIP nothing can be traced here", d->name);

    } else {
        ok(what == NULL, "death over %s: %s after %u writes", d->name,
           what ? what : "no harm", writes);

        ok(stops == 2 && writes > 4, "death over %s: %u writes", d->name,
           writes);

        found = 0;

        for (i = 0; i < DEATH_KEYS; i++) {
            found |= find(table, i) ? 1u << i : 0;
        }

        is_int(found, d->after, "life over %s", d->name);
        is_sound(table, d->name);
    }

    (void) munmap(table, bytes);
    free(seen);
    free(copy);
}


static void
test_deaths(void)
{
    size_t  i;

    for (i = 0; i < sizeof(deaths) / sizeof(deaths[0]); i++) {
        test_death(&deaths[i]);
    }
}


int
main(void)
{
    uint32_t  capacity;

    test_size();
    test_hash();
    test_keys();
    test_chain();
    test_recent();
    test_victims();
    test_settle();
    test_counts();
    test_tripped();
    test_enter();
    test_moved();
    test_rebuilds();
    test_rebuilt_order();
    test_torn();
    test_garbage();
    test_copies();
    test_large_copy(200, 200);
    test_large_copy(200, 70);
    test_large_copy(200, 20);
    test_large_copy(200, 1000);
    test_large_copy(1, 1);
    test_other_copies();
    test_deaths();

    for (capacity = 1; capacity < 60; capacity += 1 + capacity / 4) {
        test_model(capacity);
    }

    return done_testing();
}
