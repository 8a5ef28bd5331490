
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "ngx_http_resilience_state.h"
#include <sys/file.h>


/* the state file is written, now and then and at the end */


static void ngx_http_resilience_state_timer(ngx_event_t *ev);
static ngx_msec_t ngx_http_resilience_state_turn(ngx_log_t *log);
static ngx_msec_t ngx_http_resilience_state_idle(
    ngx_http_resilience_zone_t *zone, ngx_log_t *log);
static void ngx_http_resilience_state_sum(ngx_http_resilience_seen_t *seen,
    ngx_http_resilience_shared_t *shared);
static ngx_int_t ngx_http_resilience_save_begin(
    ngx_http_resilience_save_t *save, ngx_http_resilience_zone_t *zone);
static ngx_pid_t ngx_http_resilience_save_owner(
    ngx_http_resilience_save_t *save);
static ngx_int_t ngx_http_resilience_save_open(
    ngx_http_resilience_save_t *save);
static ngx_int_t ngx_http_resilience_save_head(
    ngx_http_resilience_save_t *save);
static ngx_int_t ngx_http_resilience_save_tally(
    ngx_http_resilience_save_t *save, ngx_uint_t nchains,
    ngx_http_resilience_move_t *moves);
static ngx_int_t ngx_http_resilience_save_cells(
    ngx_http_resilience_save_t *save, ngx_uint_t all);
static ngx_uint_t ngx_http_resilience_save_batch(
    ngx_http_resilience_save_t *save, ngx_http_resilience_state_cell_t *batch,
    uint32_t end);
static ngx_uint_t ngx_http_resilience_save_worth(
    ngx_http_resilience_counters_t *provider, res_breaker_t *b);
static ngx_int_t ngx_http_resilience_save_digest(
    ngx_http_resilience_save_t *save);
static ngx_int_t ngx_http_resilience_save_put(ngx_http_resilience_save_t *save,
    void *data, size_t size);
static ngx_int_t ngx_http_resilience_save_write(
    ngx_http_resilience_save_t *save, u_char *p, size_t size);
static ngx_int_t ngx_http_resilience_save_error(
    ngx_http_resilience_save_t *save, const char *what);
static void ngx_http_resilience_save_rename(ngx_http_resilience_save_t *save);
static void ngx_http_resilience_save_lock(ngx_fd_t fd);
#if (NGX_THREADS)
static void *ngx_http_resilience_save_thread(void *data);
#endif
static void ngx_http_resilience_save_detach(ngx_http_resilience_save_t *save);
static void ngx_http_resilience_save_end(ngx_http_resilience_save_t *save,
    ngx_log_t *log);
static ngx_pid_t ngx_http_resilience_state_master(void);


static ngx_event_t                 ngx_http_resilience_state_event;
static ngx_connection_t            ngx_http_resilience_state_dumb;
static ngx_http_resilience_save_t  ngx_http_resilience_state_file;
static ngx_http_resilience_seen_t  ngx_http_resilience_state_seen;


void
ngx_http_resilience_state_start(ngx_cycle_t *cycle)
{
    ngx_event_t                 *ev;
    ngx_http_resilience_zone_t  *zone;

    zone = ngx_http_resilience_zone_get(cycle);

    if (ngx_worker != 0 || zone == NULL || zone->state.len == 0) {
        return;
    }

    ngx_http_resilience_save_clean(zone->state.data);

    ev = &ngx_http_resilience_state_event;

    ngx_memzero(ev, sizeof(ngx_event_t));

    ev->handler = ngx_http_resilience_state_timer;
    ev->data = &ngx_http_resilience_state_dumb;
    ev->log = cycle->log;
    ev->cancelable = 1;

    ngx_add_timer(ev, NGX_HTTP_RESILIENCE_STATE_TICK);
}


void
ngx_http_resilience_state_stop(void)
{
    ngx_http_resilience_save_t  *save;

    save = &ngx_http_resilience_state_file;

    while (save->threaded && !save->done) {
        ngx_msleep(1);
    }

    if (save->shared) {
        ngx_http_resilience_save_end(save, ngx_cycle->log);
    }
}


void
ngx_http_resilience_state_save(ngx_http_resilience_zone_t *zone,
    ngx_log_t *log)
{
    ngx_int_t                    rc;
    ngx_http_resilience_save_t  *save;

    save = &ngx_http_resilience_state_file;

    rc = ngx_http_resilience_save_begin(save, zone);

    if (rc == NGX_OK) {
        rc = ngx_http_resilience_save_cells(save, 1);
    }

    if (rc == NGX_OK) {
        ngx_http_resilience_save_rename(save);
    }

    ngx_http_resilience_save_end(save, log);
    ngx_http_resilience_save_clean(zone->state.data);
}


static void
ngx_http_resilience_state_timer(ngx_event_t *ev)
{
    ngx_msec_t  delay;

    ev->log = ngx_cycle->log;

    delay = ngx_http_resilience_state_turn(ev->log);

    if (delay) {
        ngx_add_timer(ev, delay);
    }
}


/* ms until the next turn; 0: there is none */

static ngx_msec_t
ngx_http_resilience_state_turn(ngx_log_t *log)
{
    ngx_int_t                    rc;
    ngx_http_resilience_save_t  *save;
    ngx_http_resilience_zone_t  *zone;

    save = &ngx_http_resilience_state_file;
    zone = ngx_http_resilience_zone_get((ngx_cycle_t *) ngx_cycle);

    if (save->threaded) {

        if (!save->done) {
            return NGX_HTTP_RESILIENCE_STATE_POLL;
        }

        ngx_http_resilience_save_end(save, log);
    }

    if (ngx_exiting || zone == NULL || zone->state.len == 0) {

        /* there is a worker 0 of another configuration by now */

        if (save->shared) {
            ngx_http_resilience_save_end(save, log);
        }

        return 0;
    }

    if (save->shared == NULL) {
        return ngx_http_resilience_state_idle(zone, log);
    }

    rc = ngx_http_resilience_save_cells(save, 0);

    if (rc == NGX_AGAIN) {
        return 1;
    }

    if (rc == NGX_OK) {
        ngx_http_resilience_save_detach(save);
    }

    if (!save->threaded) {
        ngx_http_resilience_save_end(save, log);
    }

    return NGX_HTTP_RESILIENCE_STATE_POLL;
}


static ngx_msec_t
ngx_http_resilience_state_idle(ngx_http_resilience_zone_t *zone,
    ngx_log_t *log)
{
    ngx_msec_t                   elapsed;
    ngx_http_resilience_save_t  *save;
    ngx_http_resilience_seen_t  *seen;

    save = &ngx_http_resilience_state_file;
    seen = &ngx_http_resilience_state_seen;

    ngx_http_resilience_state_sum(seen, zone->shared);

    elapsed = ngx_current_msec - seen->ended;

    if (seen->begun
        && elapsed < NGX_HTTP_RESILIENCE_STATE_EVERY
        && (elapsed < seen->pause || seen->sum == seen->saved))
    {
        return NGX_HTTP_RESILIENCE_STATE_TICK;
    }

    if (ngx_http_resilience_save_begin(save, zone) == NGX_OK) {
        return 1;
    }

    ngx_http_resilience_save_end(save, log);

    return NGX_HTTP_RESILIENCE_STATE_TICK;
}


/*
 * Each change of a breaker's state starts a new generation of it, and so does
 * each word of an administrator: their sum tells of any.  It is taken without
 * the lock, for words alone are whole, and of a large zone in several turns.
 */

static void
ngx_http_resilience_state_sum(ngx_http_resilience_seen_t *seen,
    ngx_http_resilience_shared_t *shared)
{
    uint32_t      end, last;
    ngx_uint_t    i;
    res_table_t  *table;

    table = shared->table;

    last = ngx_min(table->fresh, table->capacity);
    end = (last - ngx_min(seen->next, last) > NGX_HTTP_RESILIENCE_STATE_SUM)
              ? seen->next + NGX_HTTP_RESILIENCE_STATE_SUM : last;

    while (seen->next < end) {
        seen->part += res_table_cell(table, seen->next++)->breaker.generation;
    }

    if (end < last) {
        return;
    }

    for (i = 0; i < shared->nproviders; i++) {
        seen->part += shared->providers[i]->breaker.generation
                      + shared->providers[i]->epoch;
    }

    seen->sum = seen->part;
    seen->part = 0;
    seen->next = 0;
}


/* NGX_DECLINED: the file is another nginx's */

static ngx_int_t
ngx_http_resilience_save_begin(ngx_http_resilience_save_t *save,
    ngx_http_resilience_zone_t *zone)
{
    ngx_memzero(save, sizeof(ngx_http_resilience_save_t));

    save->fd = NGX_INVALID_FILE;
    save->zone = zone;
    save->shared = zone->shared;

    (void) ngx_snprintf(save->path, NGX_MAX_PATH, "%V%Z", &zone->state);
    (void) ngx_snprintf(save->temp, NGX_MAX_PATH, "%V.%P.tmp%Z", &zone->state,
                        ngx_pid);

    ngx_memcpy(save->id, zone->shared->id, sizeof(save->id));
    ngx_memcpy(save->from, zone->shared->from, sizeof(save->from));

    save->sum = ngx_http_resilience_state_seen.sum;
    save->owner = ngx_http_resilience_save_owner(save);

    if (save->owner) {
        return NGX_DECLINED;
    }

    if (ngx_http_resilience_save_open(save) != NGX_OK) {
        return NGX_ERROR;
    }

    return ngx_http_resilience_save_head(save);
}


/*
 * The master of another nginx that wrote the file, if it still runs and this
 * one has not taken over from it; or 0.
 */

static ngx_pid_t
ngx_http_resilience_save_owner(ngx_http_resilience_save_t *save)
{
    ngx_fd_t                          fd;
    ngx_int_t                         rc;
    ngx_pid_t                         pid;
    ngx_http_resilience_state_head_t  head;

    fd = ngx_open_file(save->path, NGX_FILE_RDONLY|NGX_FILE_NONBLOCK,
                       NGX_FILE_OPEN, 0);

    if (fd == NGX_INVALID_FILE) {
        return 0;
    }

    rc = ngx_http_resilience_state_fill(fd, (u_char *) &head, sizeof(head));

    (void) ngx_close_file(fd);

    if (rc != NGX_OK
        || ngx_http_resilience_state_head(&head)
        || ngx_memcmp(head.id, save->id, sizeof(head.id)) == 0
        || ngx_memcmp(head.id, save->from, sizeof(head.id)) == 0)
    {
        return 0;
    }

    pid = (ngx_pid_t) head.pid;

    if (pid <= 0
        || pid == ngx_http_resilience_state_master()
        || ngx_http_resilience_flight_gone(pid))
    {
        return 0;
    }

    return pid;
}


static ngx_int_t
ngx_http_resilience_save_open(ngx_http_resilience_save_t *save)
{
    ngx_core_conf_t  *ccf;

    save->fd = ngx_open_tempfile(save->temp, 1, 0600);

    if (save->fd == NGX_INVALID_FILE && ngx_errno == NGX_EEXIST) {
        (void) ngx_delete_file(save->temp);
        save->fd = ngx_open_tempfile(save->temp, 1, 0600);
    }

    if (save->fd == NGX_INVALID_FILE) {
        return ngx_http_resilience_save_error(save, ngx_open_tempfile_n);
    }

    /* workers look at it, too */

    ccf = (ngx_core_conf_t *) ngx_get_conf(save->zone->cycle->conf_ctx,
                                           ngx_core_module);

    if (ngx_process == NGX_PROCESS_MASTER && geteuid() == 0
        && fchown(save->fd, ccf->user, (gid_t) -1) == -1)
    {
        return ngx_http_resilience_save_error(save, "fchown()");
    }

    save->md = EVP_MD_CTX_new();

    if (save->md == NULL
        || EVP_DigestInit_ex(save->md, EVP_sha256(), NULL) != 1)
    {
        ngx_set_errno(0);
        return ngx_http_resilience_save_error(save, "EVP_DigestInit_ex()");
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_resilience_save_head(ngx_http_resilience_save_t *save)
{
    ngx_uint_t                        i;
    ngx_http_resilience_move_t       *moves, *move;
    ngx_http_resilience_shared_t     *shared;
    ngx_http_resilience_counters_t    provider;
    ngx_http_resilience_state_head_t  head;

    shared = save->shared;

    save->nproviders = shared->nproviders;

    ngx_memzero(&head, sizeof(ngx_http_resilience_state_head_t));

    ngx_memcpy(head.magic, NGX_HTTP_RESILIENCE_STATE_MAGIC,
               sizeof(head.magic));
    ngx_memcpy(head.id, shared->id, sizeof(head.id));
    ngx_memcpy(head.hmac_key, shared->hmac_key, sizeof(head.hmac_key));

    head.version = NGX_HTTP_RESILIENCE_STATE_VERSION;
    head.stamp = ngx_http_resilience_state_stamp();
    head.pid = ngx_http_resilience_state_master();
    head.wall = ngx_http_resilience_state_wall();
    head.now = ngx_current_msec;
    head.providers = save->nproviders;
    head.chains = shared->nchains;
    head.tries = shared->tries;

    moves = shared->moves;

    for (move = moves; move; move = move->next) {
        head.moves++;
    }

    if (ngx_http_resilience_save_put(save, &head, sizeof(head)) != NGX_OK) {
        return NGX_ERROR;
    }

    for (i = 0; i < save->nproviders; i++) {

        ngx_http_resilience_zone_enter(save->zone);

        provider = *shared->providers[i];

        ngx_http_resilience_zone_leave(save->zone);

        if (ngx_http_resilience_save_put(save, &provider, sizeof(provider))
            != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    return ngx_http_resilience_save_tally(save, head.chains, moves);
}


/*
 * Copies: the digest is of what is written, and calls count all the while.
 * Moves that came since come before those.
 */

static ngx_int_t
ngx_http_resilience_save_tally(ngx_http_resilience_save_t *save,
    ngx_uint_t nchains, ngx_http_resilience_move_t *moves)
{
    ngx_uint_t                   i;
    ngx_http_resilience_move_t   move;
    ngx_http_resilience_tally_t  chain;

    for (i = 0; i < nchains; i++) {
        chain = *save->shared->chains[i];

        if (ngx_http_resilience_save_put(save, &chain, sizeof(chain))
            != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    for ( /* void */ ; moves; moves = moves->next) {
        move = *moves;

        if (ngx_http_resilience_save_put(save, &move, sizeof(move))
            != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


/* all that are left, or a turn's: NGX_AGAIN */

static ngx_int_t
ngx_http_resilience_save_cells(ngx_http_resilience_save_t *save,
    ngx_uint_t all)
{
    uint32_t                          turn, last;
    ngx_uint_t                        n, written;
    res_table_t                      *table;
    ngx_http_resilience_state_cell_t  batch[NGX_HTTP_RESILIENCE_STATE_BATCH];

    table = save->shared->table;

    turn = save->next;
    written = 0;

    for ( ;; ) {

        last = ngx_min(table->fresh, table->capacity);

        if (save->next >= last) {
            return ngx_http_resilience_save_digest(save);
        }

        if (!all
            && (save->next - turn >= NGX_HTTP_RESILIENCE_STATE_TURN
                || written >= NGX_HTTP_RESILIENCE_STATE_WRITE))
        {
            return NGX_AGAIN;
        }

        n = ngx_http_resilience_save_batch(save, batch, last);

        if (n
            && ngx_http_resilience_save_put(save, batch,
                                            n * sizeof(batch[0]))
               != NGX_OK)
        {
            return NGX_ERROR;
        }

        written += n;
    }
}


static ngx_uint_t
ngx_http_resilience_save_batch(ngx_http_resilience_save_t *save,
    ngx_http_resilience_state_cell_t *batch, uint32_t last)
{
    uint32_t                           end;
    ngx_uint_t                         n;
    res_cell_t                        *cell;
    res_table_t                       *table;
    ngx_http_resilience_state_cell_t  *to;

    table = save->shared->table;
    n = 0;

    end = (last - save->next > NGX_HTTP_RESILIENCE_STATE_LOOK)
              ? save->next + NGX_HTTP_RESILIENCE_STATE_LOOK : last;

    ngx_http_resilience_zone_enter(save->zone);

    while (save->next < end && n < NGX_HTTP_RESILIENCE_STATE_BATCH) {

        cell = res_table_cell(table, save->next++);

        if (!cell->used || cell->provider >= save->nproviders) {
            continue;
        }

        ngx_http_resilience_zone_settle(save->zone, cell);

        if (!ngx_http_resilience_save_worth(
                                       save->shared->providers[cell->provider],
                                       &cell->breaker))
        {
            continue;
        }

        to = &batch[n++];

        ngx_memzero(to, sizeof(ngx_http_resilience_state_cell_t));
        ngx_memcpy(to->tenant, cell->tenant, cell->tenant_len);

        to->tenant_len = cell->tenant_len;
        to->provider = cell->provider;
        to->epoch = cell->epoch;
        to->credential = cell->credential;
        to->used_at = cell->used_at;
        to->breaker = cell->breaker;
    }

    ngx_http_resilience_zone_leave(save->zone);

    return n;
}


static ngx_uint_t
ngx_http_resilience_save_worth(ngx_http_resilience_counters_t *provider,
    res_breaker_t *b)
{
    uint64_t  now;

    now = ngx_current_msec;

    return b->state != RES_CLOSED
           || b->forced != provider->forced
           || b->rest > now
           || b->consecutive != 0
           || res_breaker_failed(b) != 0
           || res_breaker_slowed(b) != 0
           || (b->ramping && now < b->since + NGX_HTTP_RESILIENCE_STATE_RAMP);
}


static ngx_int_t
ngx_http_resilience_save_digest(ngx_http_resilience_save_t *save)
{
    unsigned int  len;
    u_char        md[EVP_MAX_MD_SIZE];

    len = 0;

    if (EVP_DigestFinal_ex(save->md, md, &len) != 1
        || len != NGX_HTTP_RESILIENCE_STATE_DIGEST)
    {
        ngx_set_errno(0);
        return ngx_http_resilience_save_error(save, "EVP_DigestFinal_ex()");
    }

    return ngx_http_resilience_save_write(save, md, len);
}


static ngx_int_t
ngx_http_resilience_save_put(ngx_http_resilience_save_t *save, void *data,
    size_t size)
{
    if (EVP_DigestUpdate(save->md, data, size) != 1) {
        ngx_set_errno(0);
        return ngx_http_resilience_save_error(save, "EVP_DigestUpdate()");
    }

    return ngx_http_resilience_save_write(save, data, size);
}


static ngx_int_t
ngx_http_resilience_save_write(ngx_http_resilience_save_t *save, u_char *p,
    size_t size)
{
    ssize_t  n;

    save->size += size;

    while (size) {
        n = ngx_write_fd(save->fd, p, size);

        if (n == -1 && ngx_errno == NGX_EINTR) {
            continue;
        }

        if (n == -1) {
            return ngx_http_resilience_save_error(save, ngx_write_fd_n);
        }

        p += n;
        size -= n;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_resilience_save_error(ngx_http_resilience_save_t *save,
    const char *what)
{
    save->err = ngx_errno;
    save->failed = what;

    return NGX_ERROR;
}


/*
 * The disk has it before it has the name.  By then a new binary may have
 * written its own, or be about to: from the look at it until the file has its
 * name its directory is locked.
 */

static void
ngx_http_resilience_save_rename(ngx_http_resilience_save_t *save)
{
    ngx_fd_t  fd;
    u_char    directory[NGX_MAX_PATH];

    if (fsync(save->fd) == -1) {
        (void) ngx_http_resilience_save_error(save, "fsync()");
        return;
    }

    ngx_http_resilience_state_directory(directory, save->path);

    fd = ngx_open_file(directory, NGX_FILE_RDONLY, NGX_FILE_OPEN, 0);

    /* not all of them can do these to a directory */

    if (fd != NGX_INVALID_FILE) {
        ngx_http_resilience_save_lock(fd);
    }

    save->owner = ngx_http_resilience_save_owner(save);

    if (save->owner == 0) {

        if (ngx_rename_file(save->temp, save->path) != NGX_FILE_ERROR) {
            save->written = 1;

        } else {
            (void) ngx_http_resilience_save_error(save, ngx_rename_file_n);
        }
    }

    if (fd != NGX_INVALID_FILE) {
        (void) flock(fd, LOCK_UN);

        if (save->written) {
            (void) fsync(fd);
        }

        (void) ngx_close_file(fd);
    }
}


/* whoever may read a directory can lock it: it is not waited for for ever */

static void
ngx_http_resilience_save_lock(ngx_fd_t fd)
{
    ngx_uint_t  i;

    for (i = 0; i < NGX_HTTP_RESILIENCE_STATE_LOCK; i++) {

        if (flock(fd, LOCK_EX|LOCK_NB) == 0 || ngx_errno != EWOULDBLOCK) {
            return;
        }

        ngx_msleep(10);
    }
}


/*
 * The disk may take its time: a thread waits for it, which knows nothing but
 * the file and whose it is.
 */

#if (NGX_THREADS)

static void *
ngx_http_resilience_save_thread(void *data)
{
    ngx_http_resilience_save_t *save = data;

    ngx_http_resilience_save_rename(save);

    (void) ngx_atomic_cmp_set(&save->done, 0, 1);

    return NULL;
}

#endif


static void
ngx_http_resilience_save_detach(ngx_http_resilience_save_t *save)
{
#if (NGX_THREADS)

    sigset_t        all, old;
    pthread_t       tid;
    pthread_attr_t  attr;

    if (pthread_attr_init(&attr) == 0) {

        (void) pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);

        /* signals are for the worker */

        (void) sigfillset(&all);
        (void) pthread_sigmask(SIG_SETMASK, &all, &old);

        save->threaded = (pthread_create(&tid, &attr,
                                         ngx_http_resilience_save_thread, save)
                          == 0);

        (void) pthread_sigmask(SIG_SETMASK, &old, NULL);
        (void) pthread_attr_destroy(&attr);
    }

    if (save->threaded) {
        return;
    }

#endif

    ngx_http_resilience_save_rename(save);
}


/* also before it is written */

static void
ngx_http_resilience_save_end(ngx_http_resilience_save_t *save, ngx_log_t *log)
{
    ngx_http_resilience_seen_t  *seen;

    seen = &ngx_http_resilience_state_seen;

    if (save->fd != NGX_INVALID_FILE) {

        if (ngx_close_file(save->fd) == NGX_FILE_ERROR
            && save->failed == NULL)
        {
            (void) ngx_http_resilience_save_error(save, ngx_close_file_n);
        }

        if (!save->written) {
            (void) ngx_delete_file(save->temp);
        }
    }

    if (save->failed) {
        ngx_log_error(NGX_LOG_ERR, log, save->err,
                      "state file \"%s\" could not be written, "
                      "%s \"%s\" failed",
                      save->path, save->failed, save->temp);
    }

    if (save->owner && save->owner != seen->owner) {
        ngx_log_error(NGX_LOG_NOTICE, log, 0,
                      "state file \"%s\" is now written by the nginx of "
                      "process %P", save->path, save->owner);
    }

    if (save->md) {
        EVP_MD_CTX_free(save->md);
    }

    seen->owner = save->owner;
    seen->begun = 1;
    seen->ended = ngx_current_msec;
    seen->pause = save->size / NGX_HTTP_RESILIENCE_STATE_PACE;

    if (save->written) {
        seen->saved = save->sum;

    } else if (seen->owner == 0) {
        seen->pause = NGX_HTTP_RESILIENCE_STATE_EVERY;
    }

    ngx_memzero(save, sizeof(ngx_http_resilience_save_t));
}


/* what others have begun to write before they were killed */

void
ngx_http_resilience_save_clean(u_char *path)
{
    size_t      len, base;
    u_char     *name;
    ngx_dir_t   dir;
    ngx_int_t   pid;
    ngx_str_t   directory;
    u_char      buf[NGX_MAX_PATH], stale[NGX_MAX_PATH];

    ngx_http_resilience_state_directory(buf, path);

    directory.data = buf;
    directory.len = ngx_strlen(buf);

    name = (u_char *) strrchr((char *) path, '/');
    path = name ? name + 1 : path;
    base = ngx_strlen(path);

    if (ngx_open_dir(&directory, &dir) == NGX_ERROR) {
        return;
    }

    while (ngx_read_dir(&dir) == NGX_OK) {

        name = ngx_de_name(&dir);
        len = ngx_de_namelen(&dir);

        if (len <= base + 5
            || ngx_strncmp(name, path, base) != 0
            || name[base] != '.'
            || ngx_strcmp(&name[len - 4], ".tmp") != 0)
        {
            continue;
        }

        pid = ngx_atoi(&name[base + 1], len - base - 5);

        if (pid > 0
            && (pid == ngx_pid || ngx_http_resilience_flight_gone(pid)))
        {
            (void) ngx_snprintf(stale, NGX_MAX_PATH, "%V/%s%Z", &directory,
                                name);
            (void) ngx_delete_file(stale);
        }
    }

    (void) ngx_close_dir(&dir);
}


static ngx_pid_t
ngx_http_resilience_state_master(void)
{
    return (ngx_process == NGX_PROCESS_WORKER) ? ngx_parent : ngx_pid;
}
