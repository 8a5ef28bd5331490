
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "bound.h"

#include <string.h>


typedef enum {
    BOUND_OUTSIDE = 0,             /* looks for a quote */
    BOUND_NAME,                    /* behind it */
    BOUND_COLON,                   /* behind a name's quote */
    BOUND_QUOTE,                   /* behind its colon */
    BOUND_VALUE,                   /* in its string */
    BOUND_FOUND
} bound_state_e;


static void bound_name(llm_bound_t *b, unsigned char c);
static void bound_value(llm_bound_t *b, unsigned char c);
static uint32_t bound_all(const llm_bound_member_t *members);
static int bound_space(unsigned char c);


int
llm_bound_scan(llm_bound_t *b, const unsigned char *data, size_t len)
{
    const unsigned char  *p, *last;

    p = data;
    last = data + len;

    while (p < last && b->state != BOUND_FOUND) {

        switch (b->state) {

        case BOUND_OUTSIDE:

            p = memchr(p, '"', last - p);

            if (p == NULL) {
                return 0;
            }

            p++;

            b->state = BOUND_NAME;
            b->matching = bound_all(b->members);
            b->len = 0;
            break;

        case BOUND_NAME:
            bound_name(b, *p++);
            break;

        case BOUND_COLON:

            if (*p == ':') {
                b->state = BOUND_QUOTE;

            } else if (!bound_space(*p)) {

                /* it may be the quote of another string */
                b->state = BOUND_OUTSIDE;
                break;
            }

            p++;
            break;

        case BOUND_QUOTE:

            if (*p == '"') {
                b->state = BOUND_VALUE;
                b->len = 0;

            } else if (!bound_space(*p)) {
                b->state = BOUND_OUTSIDE;
                break;
            }

            p++;
            break;

        default: /* BOUND_VALUE */
            bound_value(b, *p++);
            break;
        }
    }

    return b->state == BOUND_FOUND;
}


int
llm_bound_found(const llm_bound_t *b)
{
    return b->state == BOUND_FOUND;
}


static void
bound_name(llm_bound_t *b, unsigned char c)
{
    uint32_t     i, left;
    const char  *name;

    left = 0;

    for (i = 0; b->members[i].name; i++) {

        if (!(b->matching & (uint32_t) 1 << i)) {
            continue;
        }

        name = b->members[i].name;

        if (name[b->len] == (c == '"' ? '\0' : (char) c)) {
            left |= (uint32_t) 1 << i;
        }
    }

    b->matching = left;
    b->len++;

    if (c == '"') {

        /* the end of a string that is no name is the begin of another one's */

        b->state = left ? BOUND_COLON : BOUND_NAME;

        if (left == 0) {
            b->matching = bound_all(b->members);
            b->len = 0;
        }

    } else if (left == 0) {
        b->state = BOUND_OUTSIDE;
    }
}


static void
bound_value(llm_bound_t *b, unsigned char c)
{
    uint32_t     i, left;
    const char  *begins;

    left = 0;

    for (i = 0; b->members[i].name; i++) {

        if (!(b->matching & (uint32_t) 1 << i)) {
            continue;
        }

        begins = b->members[i].begins;

        if (begins[b->len] == '\0' ? c != '"' : begins[b->len] == (char) c) {
            left |= (uint32_t) 1 << i;

            if (begins[b->len] == '\0' || begins[b->len + 1] == '\0') {
                b->state = BOUND_FOUND;
                return;
            }
        }
    }

    b->matching = left;
    b->len++;

    if (left == 0) {

        if (c == '"') {
            b->state = BOUND_NAME;
            b->matching = bound_all(b->members);
            b->len = 0;

        } else {
            b->state = BOUND_OUTSIDE;
        }
    }
}


static uint32_t
bound_all(const llm_bound_member_t *members)
{
    uint32_t  n;

    n = 0;

    while (members[n].name) {
        n++;
    }

    return ((uint32_t) 1 << n) - 1;
}


static int
bound_space(unsigned char c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}


int
llm_bound_path(const char *const *words, llm_str_t path)
{
    size_t                len, n;
    unsigned              i;
    const unsigned char  *p, *last, *end;

    p = path.data;
    last = path.data + path.len;

    for (end = p; end <= last; end++) {

        if (end < last && *end != '/') {
            continue;
        }

        len = end - p;

        for (i = 0; words[i]; i++) {
            n = strlen(words[i]);

            if (words[i][n - 1] == '/') {
                n--;

                if (last - end < 2) {
                    continue;
                }
            }

            if (n == len && memcmp(words[i], p, n) == 0) {
                return 1;
            }
        }

        p = end + 1;
    }

    return 0;
}
