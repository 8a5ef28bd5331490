
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */

/*
 * Hints: what an answer says about how long to wait, in any of the forms that
 * providers use.
 *
 * Each function takes a value as it stands in a header or a JSON string, with
 * spaces and tabs around it or not, and returns ms from now: rounded up, so
 * that no wait ends before the time that was said, at most RES_HINT_MAX, or
 * -1 when it says nothing usable (empty, negative, not of the form).  A time
 * in the past is 0.
 *
 * now_unix_ms is the wall clock: ms since 1970-01-01 00:00:00 UTC.
 *
 * A number is digits, with a fraction or not: "17", "0.5", "17.", ".5".  Its
 * decimals beyond the ninth are rounded up.
 */


#ifndef RES_HINT_H_INCLUDED
#define RES_HINT_H_INCLUDED


#include <stddef.h>
#include <stdint.h>


/* ten years of 365 days; whatever is longer, however long, is this */

#define RES_HINT_MAX  ((int64_t) 10 * 365 * 24 * 3600 * 1000)


/*
 * Retry-After (RFC 9110, 10.2.3): seconds, or a date in one of the forms of
 * 5.6.7, names in any case:
 *
 *   Sun, 06 Nov 1994 08:49:37 GMT
 *   Sunday, 06-Nov-94 08:49:37 GMT
 *   Sun Nov  6 08:49:37 1994
 *
 * The day of the week is not compared with the date.  A year of two digits is
 * the last such one that is not over 50 years (of 365.2425 days) ahead.
 */
int64_t res_hint_retry_after(const unsigned char *data, size_t len,
    uint64_t now_unix_ms);

/* retry-after-ms, x-ms-retry-after-ms: a number of ms. */
int64_t res_hint_ms(const unsigned char *data, size_t len);

/*
 * x-ratelimit-reset-*: durations as Go prints them ("1s", "6m0s", "20ms",
 * "1h2m3.5s"; h, m, s, ms, us, ns, in any order), which those of protobuf are
 * too ("0.5s"); or a bare number of seconds.
 */
int64_t res_hint_duration(const unsigned char *data, size_t len);

/*
 * *-reset: a point in time as of RFC 3339 ("2024-01-01T00:00:00.5+01:00"; a
 * space may stand for the "T"), or as a number since 1970: of seconds if below
 * 10^11, else of ms if below 10^14, else of us if below 10^17, else of ns.
 */
int64_t res_hint_timestamp(const unsigned char *data, size_t len,
    uint64_t now_unix_ms);


#endif /* RES_HINT_H_INCLUDED */
