
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#ifndef NGX_HTTP_RESILIENCE_STATE_H_INCLUDED
#define NGX_HTTP_RESILIENCE_STATE_H_INCLUDED


#include "ngx_http_resilience.h"
#include <openssl/evp.h>


/*
 * The state file: breakers outlive a restart and the upgrade of the binary.
 *
 *     head        magic, version, whose it is, when, the key of hashed tenants
 *     providers   all that the zone knows
 *     chains      the same
 *     moves       of calls of a chain, from a provider to another
 *     cells       those that something is lost with
 *     digest      SHA-256 of the above
 *
 * It is for the machine that wrote it: records are structs, and the stamp in
 * the head tells of their layout.  Times are ms of a clock that may start anew
 * with the machine; the head has that clock and the one on the wall, so that
 * what was left can be told, less the time that has passed.
 *
 * A cell that is left out is one of a closed breaker with no failure and no
 * slow attempt in its window, of which nothing is said that is not said of its
 * provider: met again, it begins as it was, but for its totals.
 *
 * Worker 0 writes every minute and about a second after a change, the master
 * at its end; always another file, which then takes the name of the old one.
 * While there are two masters, as in an upgrade, the file is of the newer one.
 */


#define NGX_HTTP_RESILIENCE_STATE_MAGIC    "nginx resilience"
#define NGX_HTTP_RESILIENCE_STATE_VERSION  2

#define NGX_HTTP_RESILIENCE_STATE_TICK     1000     /* ms between two looks */
#define NGX_HTTP_RESILIENCE_STATE_EVERY    60000    /* ms, without a change */
#define NGX_HTTP_RESILIENCE_STATE_POLL     10       /* ms, of the thread */
#define NGX_HTTP_RESILIENCE_STATE_LOCK     500      /* times 10 ms */
#define NGX_HTTP_RESILIENCE_STATE_PACE     1024     /* bytes a ms, on average */
#define NGX_HTTP_RESILIENCE_STATE_RAMP     3600000  /* ms it may last to be
                                                       kept */

/*
 * Cells: that are written at a time, looked at in one holding of the lock,
 * looked at and written in one turn of the event loop, summed up in one.
 */

#define NGX_HTTP_RESILIENCE_STATE_BATCH    32
#define NGX_HTTP_RESILIENCE_STATE_LOOK     64
#define NGX_HTTP_RESILIENCE_STATE_TURN     4096
#define NGX_HTTP_RESILIENCE_STATE_WRITE    1024
#define NGX_HTTP_RESILIENCE_STATE_SUM      65536


typedef struct {
    u_char                           magic[16];
    uint32_t                         version;
    uint32_t                         stamp;
    u_char                           id[16];      /* of the zone */
    uint64_t                         pid;         /* of its master */
    uint64_t                         wall;        /* ms since 1970 */
    uint64_t                         now;         /* ms, as all times below */
    uint64_t                         providers;
    u_char                           hmac_key[32];
    uint64_t                         chains;
    uint64_t                         moves;
    ngx_http_resilience_ladder_t     tries;
} ngx_http_resilience_state_head_t;


typedef struct {
    u_char                           tenant[RES_TENANT_LEN];
    uint32_t                         tenant_len;
    uint32_t                         provider;    /* as numbered above */
    uint32_t                         epoch;
    uint32_t                         credential;
    uint64_t                         used_at;
    res_breaker_t                    breaker;
} ngx_http_resilience_state_cell_t;


#define NGX_HTTP_RESILIENCE_STATE_DIGEST  32


/* what was read */

typedef struct {
    u_char                             *data;
    size_t                              size;
    ngx_http_resilience_state_head_t    head;
    ngx_http_resilience_counters_t     *providers;
    ngx_http_resilience_tally_t        *chains;
    ngx_http_resilience_move_t         *moves;
    ngx_http_resilience_state_cell_t   *records;
    ngx_http_resilience_state_cell_t  **cells;    /* the least wanted first */
    ngx_uint_t                          ncells;
    ngx_uint_t                          nproviders;
    uint16_t                            map[NGX_HTTP_RESILIENCE_PROVIDERS];
    uint64_t                            passed;   /* ms since it was written */
    const char                         *why;      /* it is of no use */
    ngx_err_t                           err;
} ngx_http_resilience_state_t;


/* what is being written */

typedef struct {
    ngx_http_resilience_zone_t         *zone;
    ngx_http_resilience_shared_t       *shared;   /* NULL: nothing is */
    EVP_MD_CTX                         *md;
    ngx_fd_t                            fd;
    ngx_uint_t                          nproviders;
    uint32_t                            next;     /* cell to be looked at */
    uint64_t                            sum;      /* see below */
    size_t                              size;
    const char                         *failed;   /* what did; NULL: nothing */
    ngx_err_t                           err;
    ngx_atomic_t                        done;     /* the thread is */
    ngx_uint_t                          threaded;
    ngx_uint_t                          written;
    ngx_pid_t                           owner;    /* another nginx; 0: none */
    u_char                              id[16];
    u_char                              from[16];
    u_char                              path[NGX_MAX_PATH];
    u_char                              temp[NGX_MAX_PATH];
} ngx_http_resilience_save_t;


/* what this process has seen of the zone, and when it wrote */

typedef struct {
    uint64_t                            sum;      /* of all generations */
    uint64_t                            saved;    /* the same, as written */
    uint64_t                            part;     /* of the next sum, */
    uint32_t                            next;     /* up to this cell */
    ngx_msec_t                          ended;
    ngx_msec_t                          pause;    /* after that */
    ngx_uint_t                          begun;
    ngx_pid_t                           owner;    /* another master */
} ngx_http_resilience_seen_t;


void ngx_http_resilience_state_directory(u_char *directory,
    u_char *path);
ngx_int_t ngx_http_resilience_state_fill(ngx_fd_t fd, u_char *p,
    size_t size);
const char *ngx_http_resilience_state_head(
    ngx_http_resilience_state_head_t *head);
void ngx_http_resilience_save_clean(u_char *path);
uint32_t ngx_http_resilience_state_stamp(void);
uint64_t ngx_http_resilience_state_wall(void);


#endif /* NGX_HTTP_RESILIENCE_STATE_H_INCLUDED */
