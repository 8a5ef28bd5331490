
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "ngx_http_resilience_state.h"


/* the state file is read, when a zone is new */


static ngx_int_t ngx_http_resilience_state_read(
    ngx_http_resilience_state_t *state, u_char *path, ngx_log_t *log);
static ngx_int_t ngx_http_resilience_state_read_fd(
    ngx_http_resilience_state_t *state, ngx_fd_t fd, ngx_log_t *log);
static ngx_int_t ngx_http_resilience_state_verify(
    ngx_http_resilience_state_t *state);
static ngx_int_t ngx_http_resilience_state_parts(
    ngx_http_resilience_state_t *state);
static ngx_int_t ngx_http_resilience_state_sort(
    ngx_http_resilience_state_t *state,
    ngx_http_resilience_shared_t *shared, ngx_log_t *log);
static ngx_uint_t ngx_http_resilience_state_sound(
    ngx_http_resilience_state_t *state,
    ngx_http_resilience_state_cell_t *cell);
static int ngx_libc_cdecl ngx_http_resilience_state_cmp(const void *one,
    const void *two);
static void ngx_http_resilience_state_apply(
    ngx_http_resilience_state_t *state, ngx_http_resilience_zone_t *zone);
static void ngx_http_resilience_state_tally(
    ngx_http_resilience_state_t *state, ngx_http_resilience_shared_t *shared);
static void ngx_http_resilience_state_put(ngx_http_resilience_state_t *state,
    ngx_http_resilience_zone_t *zone, ngx_http_resilience_state_cell_t *from);
static void ngx_http_resilience_state_breaker(
    ngx_http_resilience_state_t *state, res_breaker_t *b);
static uint64_t ngx_http_resilience_state_past(
    ngx_http_resilience_state_t *state, uint64_t at);
static uint64_t ngx_http_resilience_state_future(
    ngx_http_resilience_state_t *state, uint64_t at);


ngx_int_t
ngx_http_resilience_state_path(ngx_conf_t *cf, ngx_str_t *path)
{
    u_char           directory[NGX_MAX_PATH];
    ngx_file_info_t  fi;

    if (path->len == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"state=\" of \"resilience_zone\" wants a path");
        return NGX_ERROR;
    }

    if (ngx_conf_full_name(cf->cycle, path, 0) != NGX_OK) {
        return NGX_ERROR;
    }

    if (path->len + sizeof(".ignored") + NGX_INT64_LEN > NGX_MAX_PATH) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "path \"%V\" is too long", path);
        return NGX_ERROR;
    }

    ngx_http_resilience_state_directory(directory, path->data);

    if (ngx_file_info(directory, &fi) == NGX_FILE_ERROR) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno,
                           "directory \"%s\" of state file \"%V\":",
                           directory, path);
        return NGX_ERROR;
    }

    if (ngx_file_info(path->data, &fi) != NGX_FILE_ERROR
        && !ngx_is_file(&fi))
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "state file \"%V\" is not a regular file", path);
        return NGX_ERROR;
    }

    return NGX_OK;
}


/* workers of another user than the master must be able to write, too */

void
ngx_http_resilience_state_check(ngx_http_resilience_zone_t *zone,
    ngx_log_t *log)
{
    u_char            directory[NGX_MAX_PATH];
    ngx_uint_t        writable;
    ngx_file_info_t   fi;
    ngx_core_conf_t  *ccf;

    ngx_http_resilience_state_directory(directory, zone->state.data);

    ccf = (ngx_core_conf_t *) ngx_get_conf(zone->cycle->conf_ctx,
                                           ngx_core_module);

    if (geteuid() != 0) {
        writable = (access((const char *) directory, W_OK|X_OK) == 0);

    } else if (ccf->user == 0
               || ngx_file_info(directory, &fi) == NGX_FILE_ERROR)
    {
        writable = 1;

    } else {
        /* which groups a user is in may change */
        writable = (fi.st_mode & (S_IWGRP|S_IWOTH))
                   || (fi.st_uid == ccf->user && (fi.st_mode & S_IWUSR));
    }

    if (!writable) {
        ngx_log_error(NGX_LOG_WARN, log, 0,
                      "worker processes cannot write to directory \"%s\" of "
                      "state file \"%V\"", directory, &zone->state);
    }
}


void
ngx_http_resilience_state_directory(u_char *directory, u_char *path)
{
    u_char  *p;

    (void) ngx_cpystrn(directory, path, NGX_MAX_PATH);

    p = (u_char *) strrchr((char *) directory, '/');

    if (p == NULL) {
        (void) ngx_cpystrn(directory, (u_char *) ".", NGX_MAX_PATH);

    } else if (p == directory) {
        p[1] = '\0';

    } else {
        *p = '\0';
    }
}


void
ngx_http_resilience_state_load(ngx_http_resilience_zone_t *zone,
    ngx_log_t *log)
{
    ngx_int_t                    rc;
    ngx_http_resilience_state_t  state;
    u_char                       aside[NGX_MAX_PATH];

    ngx_memzero(&state, sizeof(ngx_http_resilience_state_t));

    ngx_http_resilience_save_clean(zone->state.data);

    rc = ngx_http_resilience_state_read(&state, zone->state.data, log);

    if (rc == NGX_OK) {
        rc = ngx_http_resilience_state_sort(&state, zone->shared, log);
    }

    if (rc == NGX_OK) {
        ngx_http_resilience_state_apply(&state, zone);

        ngx_log_error(NGX_LOG_NOTICE, log, 0,
                      "state file \"%V\", written %uLms ago, has %ui breakers",
                      &zone->state, state.passed, state.ncells);

    } else if (rc == NGX_ERROR) {

        /* it may be of a version to which one goes back */

        (void) ngx_snprintf(aside, NGX_MAX_PATH, "%V.ignored%Z", &zone->state);
        (void) ngx_rename_file(zone->state.data, aside);

        ngx_log_error(NGX_LOG_WARN, log, state.err,
                      "state file \"%V\" is ignored and kept as \"%s\", %s",
                      &zone->state, aside, state.why);
    }

    if (state.cells) {
        ngx_free(state.cells);
    }

    if (state.data) {
        ngx_free(state.data);
    }
}


/* NGX_DECLINED: there is none */

static ngx_int_t
ngx_http_resilience_state_read(ngx_http_resilience_state_t *state,
    u_char *path, ngx_log_t *log)
{
    ngx_fd_t   fd;
    ngx_int_t  rc;

    fd = ngx_open_file(path, NGX_FILE_RDONLY, NGX_FILE_OPEN, 0);

    if (fd == NGX_INVALID_FILE) {
        state->err = ngx_errno;
        state->why = ngx_open_file_n " failed";

        return (state->err == NGX_ENOENT) ? NGX_DECLINED : NGX_ERROR;
    }

    rc = ngx_http_resilience_state_read_fd(state, fd, log);

    if (ngx_close_file(fd) == NGX_FILE_ERROR) {
        ngx_log_error(NGX_LOG_ALERT, log, ngx_errno,
                      ngx_close_file_n " \"%s\" failed", path);
    }

    return rc;
}


static ngx_int_t
ngx_http_resilience_state_read_fd(ngx_http_resilience_state_t *state,
    ngx_fd_t fd, ngx_log_t *log)
{
    size_t           size;
    ngx_file_info_t  fi;

    size = sizeof(ngx_http_resilience_state_head_t);

    if (ngx_fd_info(fd, &fi) == NGX_FILE_ERROR) {
        state->err = ngx_errno;
        state->why = ngx_fd_info_n " failed";
        return NGX_ERROR;
    }

    state->size = ngx_file_size(&fi);
    state->why = "it is truncated";

    if (state->size < size + NGX_HTTP_RESILIENCE_STATE_DIGEST) {
        return NGX_ERROR;
    }

    if (ngx_http_resilience_state_fill(fd, (u_char *) &state->head, size)
        != NGX_OK)
    {
        state->err = ngx_errno;
        state->why = ngx_read_fd_n " failed";
        return NGX_ERROR;
    }

    state->why = ngx_http_resilience_state_head(&state->head);

    if (state->why) {
        return NGX_ERROR;
    }

    state->data = ngx_alloc(state->size, log);
    if (state->data == NULL) {
        state->why = "there is no memory for it";
        return NGX_ERROR;
    }

    ngx_memcpy(state->data, &state->head, size);

    if (ngx_http_resilience_state_fill(fd, state->data + size,
                                       state->size - size)
        != NGX_OK)
    {
        state->err = ngx_errno;
        state->why = ngx_read_fd_n " failed";
        return NGX_ERROR;
    }

    return ngx_http_resilience_state_verify(state);
}


ngx_int_t
ngx_http_resilience_state_fill(ngx_fd_t fd, u_char *p, size_t size)
{
    ssize_t  n;

    while (size) {

        ngx_set_errno(0);

        n = ngx_read_fd(fd, p, size);

        if (n == -1 && ngx_errno == NGX_EINTR) {
            continue;
        }

        if (n <= 0) {
            return NGX_ERROR;
        }

        p += n;
        size -= n;
    }

    return NGX_OK;
}


/* what is wrong with it, or NULL */

const char *
ngx_http_resilience_state_head(ngx_http_resilience_state_head_t *head)
{
    if (ngx_memcmp(head->magic, NGX_HTTP_RESILIENCE_STATE_MAGIC,
                   sizeof(head->magic))
        != 0)
    {
        return "it is no state file";
    }

    if (head->version != NGX_HTTP_RESILIENCE_STATE_VERSION) {
        return "it is of another version";
    }

    if (head->stamp != ngx_http_resilience_state_stamp()) {
        return "it is of another version or machine";
    }

    return NULL;
}


static ngx_int_t
ngx_http_resilience_state_verify(ngx_http_resilience_state_t *state)
{
    size_t        rest;
    uint64_t      wall;
    unsigned int  len;
    u_char        md[EVP_MAX_MD_SIZE];

    if (ngx_http_resilience_state_parts(state) != NGX_OK) {
        state->why = "it is truncated";
        return NGX_ERROR;
    }

    len = 0;
    rest = state->size - NGX_HTTP_RESILIENCE_STATE_DIGEST;

    if (EVP_Digest(state->data, rest, md, &len, EVP_sha256(), NULL) != 1
        || len != NGX_HTTP_RESILIENCE_STATE_DIGEST
        || ngx_memcmp(md, state->data + rest, len) != 0
        || state->head.providers > NGX_HTTP_RESILIENCE_PROVIDERS
        || state->head.chains > NGX_HTTP_RESILIENCE_CHAINS)
    {
        state->why = "its checksum is wrong";
        return NGX_ERROR;
    }

    /* a clock that was set back has not told of any time */

    wall = ngx_http_resilience_state_wall();

    state->passed = (wall > state->head.wall) ? wall - state->head.wall : 0;

    return NGX_OK;
}


/* where its parts are; the cells are what is left by the others */

static ngx_int_t
ngx_http_resilience_state_parts(ngx_http_resilience_state_t *state)
{
    size_t   rest, size;
    u_char  *p;

    rest = state->size - sizeof(ngx_http_resilience_state_head_t)
           - NGX_HTTP_RESILIENCE_STATE_DIGEST;
    p = state->data + sizeof(ngx_http_resilience_state_head_t);

    state->providers = (ngx_http_resilience_counters_t *) p;

    size = ngx_min(state->head.providers, NGX_HTTP_RESILIENCE_PROVIDERS)
           * sizeof(ngx_http_resilience_counters_t);

    if (rest < size) {
        return NGX_ERROR;
    }

    p += size;
    rest -= size;

    state->chains = (ngx_http_resilience_tally_t *) p;

    size = ngx_min(state->head.chains, NGX_HTTP_RESILIENCE_CHAINS)
           * sizeof(ngx_http_resilience_tally_t);

    if (rest < size
        || state->head.moves > (rest - size)
                               / sizeof(ngx_http_resilience_move_t))
    {
        return NGX_ERROR;
    }

    p += size;
    rest -= size;

    state->moves = (ngx_http_resilience_move_t *) p;

    size = state->head.moves * sizeof(ngx_http_resilience_move_t);

    p += size;
    rest -= size;

    state->records = (ngx_http_resilience_state_cell_t *) p;
    state->ncells = rest / sizeof(ngx_http_resilience_state_cell_t);

    return (rest % sizeof(ngx_http_resilience_state_cell_t)) ? NGX_ERROR
                                                             : NGX_OK;
}


/* the cells that can be used, those to be given up first if they are too many
 * at the beginning */

static ngx_int_t
ngx_http_resilience_state_sort(ngx_http_resilience_state_t *state,
    ngx_http_resilience_shared_t *shared, ngx_log_t *log)
{
    ngx_uint_t                         i, n;
    ngx_http_resilience_counters_t    *providers, *provider;
    ngx_http_resilience_state_cell_t  *cells;

    providers = state->providers;

    for (i = 0; i < state->head.providers; i++) {
        provider = ngx_http_resilience_zone_find(shared, providers[i].name,
                                                 providers[i].len);

        state->map[i] = provider ? (uint16_t) provider->number
                                 : RES_NO_PROVIDER;
    }

    if (state->ncells == 0) {
        return NGX_OK;
    }

    state->cells = ngx_alloc(state->ncells * sizeof(void *), log);
    if (state->cells == NULL) {
        state->why = "there is no memory for it";
        return NGX_ERROR;
    }

    cells = state->records;
    n = 0;

    for (i = 0; i < state->ncells; i++) {
        if (ngx_http_resilience_state_sound(state, &cells[i])) {
            state->cells[n++] = &cells[i];
        }
    }

    state->ncells = n;

    ngx_qsort(state->cells, n, sizeof(void *), ngx_http_resilience_state_cmp);

    return NGX_OK;
}


static ngx_uint_t
ngx_http_resilience_state_sound(ngx_http_resilience_state_t *state,
    ngx_http_resilience_state_cell_t *cell)
{
    return cell->provider < state->head.providers
           && state->map[cell->provider] != RES_NO_PROVIDER
           && cell->tenant_len <= RES_TENANT_LEN
           && cell->breaker.state <= RES_HALF_OPEN
           && cell->breaker.forced <= RES_FORCED_DISABLED;
}


static int ngx_libc_cdecl
ngx_http_resilience_state_cmp(const void *one, const void *two)
{
    int                                       a, b;
    const ngx_http_resilience_state_cell_t   *x, *y;

    x = *(ngx_http_resilience_state_cell_t * const *) one;
    y = *(ngx_http_resilience_state_cell_t * const *) two;

    a = res_breaker_idle(&x->breaker);
    b = res_breaker_idle(&y->breaker);

    if (a != b) {
        return b - a;
    }

    return (x->used_at > y->used_at) - (x->used_at < y->used_at);
}


static void
ngx_http_resilience_state_apply(ngx_http_resilience_state_t *state,
    ngx_http_resilience_zone_t *zone)
{
    ngx_uint_t                       i;
    ngx_http_resilience_shared_t    *shared;
    ngx_http_resilience_counters_t  *from, *to;

    shared = zone->shared;

    ngx_http_resilience_zone_enter(zone);

    ngx_memcpy(shared->hmac_key, state->head.hmac_key,
               sizeof(shared->hmac_key));
    ngx_memcpy(shared->from, state->head.id, sizeof(shared->from));

    from = state->providers;

    for (i = 0; i < state->head.providers; i++) {

        if (state->map[i] == RES_NO_PROVIDER) {
            continue;
        }

        to = shared->providers[state->map[i]];

        ngx_http_resilience_zone_carry(shared, to, &from[i]);
        ngx_http_resilience_state_breaker(state, &to->breaker);

        /* they are of a minute of another clock */

        res_histogram_forget(&to->attempt);
        res_histogram_forget(&to->first_byte);
    }

    ngx_http_resilience_state_tally(state, shared);

    i = ngx_min(state->ncells, shared->table->capacity);

    for (i = state->ncells - i; i < state->ncells; i++) {
        ngx_http_resilience_state_put(state, zone, state->cells[i]);
    }

    ngx_http_resilience_zone_leave(zone);
}


static void
ngx_http_resilience_state_tally(ngx_http_resilience_state_t *state,
    ngx_http_resilience_shared_t *shared)
{
    ngx_uint_t                    i;
    ngx_http_resilience_move_t   *move;
    ngx_http_resilience_tally_t  *chains[NGX_HTTP_RESILIENCE_CHAINS];

    shared->tries = state->head.tries;

    for (i = 0; i < state->head.chains; i++) {
        chains[i] = ngx_http_resilience_tally_carry(shared, &state->chains[i]);
    }

    for (i = 0; i < state->head.moves; i++) {
        move = &state->moves[i];

        if (move->chain < state->head.chains && chains[move->chain]
            && move->from < state->head.providers
            && move->to < state->head.providers)
        {
            ngx_http_resilience_tally_carry_move(shared, chains[move->chain],
                                                 state->map[move->from],
                                                 state->map[move->to],
                                                 move->count);
        }
    }
}


static void
ngx_http_resilience_state_put(ngx_http_resilience_state_t *state,
    ngx_http_resilience_zone_t *zone, ngx_http_resilience_state_cell_t *from)
{
    res_key_t     key;
    uint64_t      used_at;
    res_cell_t   *cell;
    res_table_t  *table;

    table = zone->shared->table;

    key.tenant = from->tenant;
    key.tenant_len = from->tenant_len;
    key.provider = state->map[from->provider];
    key.hash = res_table_hash(table, key.tenant, key.tenant_len, key.provider);

    used_at = ngx_http_resilience_state_past(state, from->used_at);

    cell = res_table_get(table, &key, used_at);

    cell->epoch = from->epoch;
    cell->credential = from->credential;
    cell->breaker = from->breaker;

    ngx_http_resilience_state_breaker(state, &cell->breaker);

    (void) res_table_settle(table, cell);
}


/* its times in those of the clock of today; no one holds a permit any more */

static void
ngx_http_resilience_state_breaker(ngx_http_resilience_state_t *state,
    res_breaker_t *b)
{
    b->since = ngx_http_resilience_state_past(state, b->since);
    b->until = ngx_http_resilience_state_future(state, b->until);
    b->rest = ngx_http_resilience_state_future(state, b->rest);

    ngx_memzero(b->leases, sizeof(b->leases));
}


static uint64_t
ngx_http_resilience_state_past(ngx_http_resilience_state_t *state,
    uint64_t at)
{
    uint64_t  age, now;

    now = ngx_current_msec;

    age = (state->head.now > at) ? state->head.now - at : 0;
    age += state->passed;

    return (now > age) ? now - age : 0;
}


static uint64_t
ngx_http_resilience_state_future(ngx_http_resilience_state_t *state,
    uint64_t at)
{
    uint64_t  left, now;

    now = ngx_current_msec;

    left = (at > state->head.now) ? at - state->head.now : 0;

    return (left > state->passed) ? now + left - state->passed : 0;
}


/* what a file must have been made alike to be of use */

uint32_t
ngx_http_resilience_state_stamp(void)
{
    uint32_t  layout[] = {
        1,                                           /* order of bytes */
        sizeof(ngx_http_resilience_state_head_t),
        sizeof(ngx_http_resilience_state_cell_t),
        sizeof(ngx_http_resilience_counters_t),
        sizeof(ngx_http_resilience_tally_t),
        sizeof(ngx_http_resilience_move_t),
        sizeof(res_breaker_t),
        offsetof(ngx_http_resilience_counters_t, attempts),
        offsetof(ngx_http_resilience_counters_t, outcomes),
        offsetof(ngx_http_resilience_counters_t, denied),
        offsetof(ngx_http_resilience_counters_t, statuses),
        offsetof(ngx_http_resilience_counters_t, asked),
        offsetof(ngx_http_resilience_counters_t, transitions),
        offsetof(ngx_http_resilience_counters_t, open),
        offsetof(ngx_http_resilience_counters_t, attempt),
        offsetof(ngx_http_resilience_counters_t, first_byte),
        offsetof(ngx_http_resilience_counters_t, budget),
        offsetof(ngx_http_resilience_counters_t, epoch),
        offsetof(ngx_http_resilience_counters_t, forced),
        offsetof(ngx_http_resilience_counters_t, breaker),
        offsetof(res_breaker_t, until),
        offsetof(res_breaker_t, total_successes),
        offsetof(res_breaker_t, generation),
        offsetof(res_breaker_t, failed),
        offsetof(res_breaker_t, slow),
        offsetof(res_breaker_t, seen),
        offsetof(res_breaker_t, state),
        offsetof(res_breaker_t, ramping),
        offsetof(res_breaker_t, leases),
        RES_BREAKER_WINDOW,
        RES_OUTCOMES
    };

    return ngx_crc32_long((u_char *) layout, sizeof(layout));
}


uint64_t
ngx_http_resilience_state_wall(void)
{
    ngx_time_t  *tp;

    tp = ngx_timeofday();

    return (uint64_t) tp->sec * 1000 + tp->msec;
}
