
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


/*
 * What an attempt pays for its breaker, and what a big table costs.
 *
 *   breaker check processes seconds    ns for one check and one record
 *   breaker cells n                    bytes of a table of n cells, and how
 *                                      much longer a look-up takes in it than
 *                                      in one of 1000
 *
 * The lock is what nginx's ngx_shmtx_t does on more than one processor: spin
 * with growing pauses, then sleep on a semaphore.
 */


#include "engine/table.h"

#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>


#define BENCH_SPIN       2048
#define BENCH_PROCESSES  16
#define BENCH_TENANTS    64
#define BENCH_PROVIDER   1
#define BENCH_BATCH      1000
#define BENCH_LOOKUPS    1000000


typedef struct {
    volatile unsigned long  lock;
    volatile long           wait;
    sem_t                   sem;
} bench_mutex_t;


typedef struct {
    uint8_t                 len;
    char                    tenant[23];
} bench_name_t;


typedef struct {
    bench_mutex_t           mutex;
    volatile long           ready;
    volatile long           go;
    uint64_t                calls[BENCH_PROCESSES];
    uint64_t                ns[BENCH_PROCESSES];
} bench_shared_t;


static const res_breaker_conf_t  bench_conf = {
    .failures = 5,
    .error_rate = 50,
    .window = 100,
    .min_calls = 20,
    .open = 60000,
    .open_max = 600000,
    .probes = 3,
    .successes = 2
};


static uint64_t
bench_ns(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);

    return (uint64_t) ts.tv_sec * 1000000000 + ts.tv_nsec;
}


static void *
bench_map(size_t size)
{
    void  *p;

    p = mmap(NULL, size, PROT_READ|PROT_WRITE, MAP_SHARED|MAP_ANONYMOUS,
             -1, 0);

    if (p == MAP_FAILED) {
        perror("mmap");
        exit(1);
    }

    return p;
}


static void
bench_pause(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __asm__ volatile ("pause");
#elif defined(__aarch64__)
    __asm__ volatile ("yield");
#endif
}


static int
bench_trylock(bench_mutex_t *m)
{
    return m->lock == 0
           && __sync_bool_compare_and_swap(&m->lock, 0, (unsigned long) 1);
}


static void
bench_lock(bench_mutex_t *m)
{
    unsigned  i, n;

    for ( ;; ) {

        if (bench_trylock(m)) {
            return;
        }

        for (n = 1; n < BENCH_SPIN; n <<= 1) {

            for (i = 0; i < n; i++) {
                bench_pause();
            }

            if (bench_trylock(m)) {
                return;
            }
        }

        (void) __sync_fetch_and_add(&m->wait, 1);

        if (bench_trylock(m)) {
            (void) __sync_fetch_and_add(&m->wait, -1);
            return;
        }

        (void) sem_wait(&m->sem);
    }
}


static void
bench_unlock(bench_mutex_t *m)
{
    long  wait;

    (void) __sync_bool_compare_and_swap(&m->lock, 1, 0);

    for ( ;; ) {
        wait = m->wait;

        if (wait <= 0) {
            return;
        }

        if (__sync_bool_compare_and_swap(&m->wait, wait, wait - 1)) {
            (void) sem_post(&m->sem);
            return;
        }
    }
}


static res_table_t *
bench_table(uint32_t capacity)
{
    res_table_t    *table;
    unsigned char   random[16];

    memset(random, 7, sizeof(random));

    table = bench_map(res_table_bytes(capacity));
    res_table_init(table, capacity, random);

    return table;
}


static void
bench_key(const res_table_t *table, const bench_name_t *name, res_key_t *key)
{
    key->tenant = (const unsigned char *) name->tenant;
    key->tenant_len = name->len;
    key->provider = BENCH_PROVIDER;
    key->hash = res_table_hash(table, key->tenant, key->tenant_len,
                               key->provider);
}


static res_cell_t *
bench_get(res_table_t *table, const bench_name_t *name, uint64_t now)
{
    res_key_t    key;
    res_cell_t  *cell;

    bench_key(table, name, &key);

    res_table_enter(table);
    cell = res_table_get(table, &key, now);
    res_table_leave(table);

    return cell;
}


/* as in ngx_http_resilience_zone_admit() and _record() */

static void
bench_call(bench_mutex_t *mutex, res_table_t *table, const bench_name_t *name,
    uint64_t now)
{
    uint32_t           n, incarnation;
    res_key_t          key;
    res_cell_t        *cell;
    res_admit_e        admit;
    res_report_t       report;
    res_permit_t       permit;
    res_transition_t   t;

    bench_key(table, name, &key);

    bench_lock(mutex);
    res_table_enter(table);

    cell = res_table_get(table, &key, now);
    admit = res_breaker_admit(&cell->breaker, &bench_conf, now, 61000,
                              (uint32_t) now, &permit, &t);
    cell->inflight++;
    n = res_table_number(table, cell);
    incarnation = cell->incarnation;

    res_table_leave(table);
    bench_unlock(mutex);

    if (admit != RES_ADMIT_YES) {
        abort();
    }

    bench_lock(mutex);
    res_table_enter(table);

    cell = res_table_cell(table, n);

    if (cell->used && cell->incarnation == incarnation) {
        cell->inflight--;

        report.result = RES_RESULT_SUCCESS;
        report.first = 1;
        report.hint = 0;
        report.random = (uint32_t) now;

        (void) res_breaker_record(&cell->breaker, &bench_conf, now, &permit,
                                  &report, &t);
    }

    res_table_leave(table);
    bench_unlock(mutex);
}


static void
bench_process(bench_shared_t *shared, res_table_t *table, unsigned number,
    unsigned processes, double seconds)
{
    unsigned      i;
    uint64_t      start, end, now, calls;
    bench_name_t  names[BENCH_TENANTS];

    for (i = 0; i < BENCH_TENANTS; i++) {
        names[i].len = (uint8_t) sprintf(names[i].tenant, "tenant-%u", i);
    }

    (void) __sync_fetch_and_add(&shared->ready, 1);

    while (shared->ready < processes) {
        bench_pause();
    }

    start = bench_ns();
    end = start + (uint64_t) (seconds * 1e9);
    calls = 0;

    do {
        for (i = 0; i < BENCH_BATCH; i++) {
            bench_call(&shared->mutex, table, &names[i % BENCH_TENANTS],
                       1000 + calls);
        }

        calls += BENCH_BATCH;
        now = bench_ns();

    } while (now < end);

    shared->calls[number] = calls;
    shared->ns[number] = now - start;
}


static int
bench_check(unsigned processes, double seconds)
{
    int              status;
    pid_t            pid[BENCH_PROCESSES];
    double           ns;
    unsigned         i;
    res_table_t     *table;
    bench_shared_t  *shared;

    if (processes == 0 || processes > BENCH_PROCESSES) {
        return 2;
    }

    shared = bench_map(sizeof(bench_shared_t));
    table = bench_table(1000);

    if (sem_init(&shared->mutex.sem, 1, 0) == -1) {
        perror("sem_init");
        return 1;
    }

    for (i = 0; i < processes; i++) {
        pid[i] = fork();

        if (pid[i] == 0) {
            (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
            bench_process(shared, table, i, processes, seconds);
            _exit(0);
        }
    }

    for (i = 0; i < processes; i++) {
        (void) waitpid(pid[i], &status, 0);

        if (status != 0) {
            return 1;
        }
    }

    ns = 0;

    for (i = 0; i < processes; i++) {
        ns += (double) shared->ns[i] / shared->calls[i] / processes;
    }

    printf("%.1f\n", ns);

    return 0;
}


/* another order, that no cache foresees */

static void
bench_shuffle(bench_name_t *names, uint32_t n, uint32_t *seed)
{
    uint32_t      i, k;
    bench_name_t  name;

    for (i = n - 1; i > 0; i--) {
        *seed = *seed * 1664525 + 1013904223;
        k = (uint32_t) (((uint64_t) *seed * (i + 1)) >> 32);

        name = names[i];
        names[i] = names[k];
        names[k] = name;
    }
}


/*
 * ns of one look-up of any of the n cells; the keys themselves are at hand, as
 * a request's are.  The order changes from run to run: in one that is repeated
 * the neighbours in the list of recent use are those that come next.
 */

static double
bench_lookup(uint32_t n, size_t *bytes)
{
    double         ns, best;
    uint32_t       i, k, round, rounds, seed;
    uint64_t       start, found;
    bench_name_t  *names;
    res_table_t   *table;

    *bytes = res_table_bytes(n);

    table = bench_table(n);
    names = bench_map(n * sizeof(bench_name_t));

    for (i = 0; i < n; i++) {
        names[i].len = (uint8_t) sprintf(names[i].tenant, "tenant-%u", i);
        (void) bench_get(table, &names[i], i);
    }

    best = 0;
    seed = 12345;
    rounds = (n < BENCH_LOOKUPS) ? BENCH_LOOKUPS / n : 1;

    for (k = 0; k < 5; k++) {

        bench_shuffle(names, n, &seed);

        found = 0;
        start = bench_ns();

        for (round = 0; round < rounds; round++) {
            for (i = 0; i < n; i++) {
                found += bench_get(table, &names[i], n + i)->used;
            }
        }

        ns = (double) (bench_ns() - start) / found;

        if (found != (uint64_t) rounds * n || table->evictions) {
            abort();
        }

        if (best == 0 || ns < best) {
            best = ns;
        }
    }

    (void) munmap(table, *bytes);
    (void) munmap(names, n * sizeof(bench_name_t));

    return best;
}


int
main(int argc, char **argv)
{
    size_t  bytes;
    double  small, big;

    if (argc == 4 && strcmp(argv[1], "check") == 0) {
        return bench_check((unsigned) atoi(argv[2]), atof(argv[3]));
    }

    if (argc == 3 && strcmp(argv[1], "cells") == 0) {
        small = bench_lookup(1000, &bytes);
        big = bench_lookup((uint32_t) atoi(argv[2]), &bytes);

        printf("%zu %.3f\n", bytes, big / small);
        return 0;
    }

    fprintf(stderr, "usage: breaker check processes seconds | cells n\n");

    return 2;
}
