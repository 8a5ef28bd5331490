
/*
 * The table of breakers: fixed-size cells keyed by (tenant, provider), found
 * by hash in O(1), the least recently used closed cell given up when full.
 *
 * The cells are the truth; the hash chains and the two lists of recent use
 * (closed cells, and the others) are an index over them by cell number.  The
 * caller holds a lock and brackets every use in res_table_enter() and
 * res_table_leave(): when a holder of the lock died in between, the next
 * res_table_enter() builds the index anew from the cells.
 */


#ifndef RES_TABLE_H_INCLUDED
#define RES_TABLE_H_INCLUDED


#include <stddef.h>
#include <stdint.h>

#include "aimd.h"
#include "breaker.h"


#define RES_TENANT_LEN  64
#define RES_NO_CELL     UINT32_MAX
#define RES_NO_PROVIDER UINT16_MAX

#define RES_TABLE_PROVIDERS  256    /* whose cells are counted, from 0 */


typedef struct {
    uint64_t              hash;
    uint64_t              used_at;      /* ms, last look-up */
    uint32_t              chain;        /* next of the same bucket */
    uint32_t              prev;         /* in the list of recent use */
    uint32_t              next;
    uint32_t              incarnation;  /* bumped when the cell is reused */
    uint32_t              inflight;     /* attempts now running */
    uint32_t              epoch;        /* the caller's; of a new cell: 0 */
    uint32_t              credential;   /* the breaker's rest is that one's,
                                           the caller's too; 0: no one's */
    uint16_t              provider;
    uint8_t               used;         /* holds a key */
    uint8_t               tripped;      /* not closed, or forced: which
                                            list it is in */
    uint8_t               counted;      /* state that it is counted in, */
    uint32_t              counted_at;   /* if that is the epoch */
    uint8_t               tenant_len;
    unsigned char         tenant[RES_TENANT_LEN];
    res_aimd_t            aimd;         /* of attempts in flight */
    res_breaker_t         breaker;
} res_cell_t;

_Static_assert(sizeof(res_cell_t) <= 384, "a cell is at most 384 bytes");


/*
 * How many cells of a provider are in which state.  A cell of another epoch
 * than the provider's is in the state that the epoch began with, whatever its
 * breaker says: a word about all of them need not go to each.
 */

typedef struct {
    uint32_t              cells[RES_BREAKER_STATES];
    uint32_t              epoch;
    uint32_t              state;        /* res_breaker_state_e */
} res_table_provider_t;


typedef struct {
    uint32_t              capacity;     /* cells */
    uint32_t              used;
    uint32_t              fresh;        /* cells never used start here */
    uint32_t              free;         /* below those, by chain: given up */
    uint32_t              mask;         /* buckets - 1 */
    uint32_t              busy;         /* a holder is inside */
    uint32_t              rebuilt;      /* times the index was made anew */
    uint64_t              evictions;
    uint64_t              evicted_open; /* of those, not closed */
    uint32_t              head[2];      /* most recent: closed, tripped */
    uint32_t              tail[2];
    uint64_t              key[2];       /* of the hash */

    /* the last one is for all providers with a higher number */
    res_table_provider_t  providers[RES_TABLE_PROVIDERS + 1];

    uint32_t              tripped[RES_TABLE_PROVIDERS];
                                         /* cells of each that are */
    /* followed by the buckets, a bit for each cell that is tripped, and the
        cells */
} res_table_t;


typedef struct {
    const unsigned char  *tenant;
    uint8_t               tenant_len;   /* 0..RES_TENANT_LEN */
    uint16_t              provider;
    uint64_t              hash;         /* res_table_hash() of the above */
} res_key_t;


/* Cells that fit in so many bytes, 0 when not even one does. */
uint32_t res_table_capacity(size_t bytes);

/* Bytes that a table of so many cells takes. */
size_t res_table_bytes(uint32_t capacity);

/* random: 16 bytes that key the hash (tenants are chosen by strangers). */
void res_table_init(res_table_t *table, uint32_t capacity,
    const unsigned char random[16]);

/* res_siphash() of the first 64 bytes and the provider; needs no lock. */
uint64_t res_table_hash(const res_table_t *table, const unsigned char *tenant,
    size_t tenant_len, uint16_t provider);

void res_table_enter(res_table_t *table);
void res_table_leave(res_table_t *table);

/* The cell of that key, or NULL; does not count as use. */
res_cell_t *res_table_find(res_table_t *table, const res_key_t *key);

/*
 * The cell of that key, made if need be, and marked as used at now.  Never
 * NULL: when full, gives up the least recently used closed cell (one with
 * nothing in flight if there is one among the eight oldest), or the least
 * recently used other cell if none is closed.
 */
res_cell_t *res_table_get(res_table_t *table, const res_key_t *key,
    uint64_t now);

/*
 * To be called after the breaker in the cell changed its state, or the cell its
 * epoch: a use too.  Returns the state that it was counted in; cell->counted is
 * the new one.
 */
res_breaker_state_e res_table_settle(res_table_t *table, res_cell_t *cell);

/*
 * A new epoch of the provider: all of its cells are in that state now.
 * moved[i]: how many were in state i before; NULL: not asked for.  Of the
 * epoch and the state that are known nothing happens.
 */
void res_table_epoch(res_table_t *table, uint16_t provider, uint32_t epoch,
    res_breaker_state_e state, uint32_t moved[RES_BREAKER_STATES]);

/* The counts of the provider; a word of them may be read without the lock. */
const res_table_provider_t *res_table_provider(const res_table_t *table,
    uint16_t provider);

/*
 * Copies what fits of another table, the cells that are not closed first and
 * then those used last, with nothing in flight.  providers[i], i < n: the
 * number that provider i has here, RES_NO_PROVIDER: it is not known any more.
 * O(cells of from).
 */
void res_table_copy(res_table_t *table, res_table_t *from,
    const uint16_t *providers, uint32_t n);

/* A cell by number, 0..capacity - 1 (used or not), and its number. */
res_cell_t *res_table_cell(res_table_t *table, uint32_t n);
uint32_t res_table_number(res_table_t *table, const res_cell_t *cell);

/*
 * A cell's number, n or above, below which no cell from n on is tripped.  No
 * more than 1024 are passed over, so the cell itself need not be tripped: it
 * is if this function returns its number also for itself, and that is less
 * than the table's capacity.
 */
uint32_t res_table_tripped(res_table_t *table, uint32_t n);


#endif /* RES_TABLE_H_INCLUDED */
