
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "hint.h"

#include <string.h>


#define RES_HINT_SECOND      1000000000
#define RES_HINT_MAX_NS      ((uint64_t) RES_HINT_MAX * 1000000)

#define RES_HINT_DAYS_1970   719528     /* from 0000-01-01 */
#define RES_HINT_50_YEARS    1577847600 /* seconds */


typedef struct {
    const unsigned char  *p;
    const unsigned char  *last;
} res_hint_text_t;


typedef struct {
    uint64_t              whole;        /* saturates */
    uint32_t              billionths;   /* 0..10^9, rounded up */
} res_hint_number_t;


typedef struct {
    int                   year;         /* 0..9999 */
    int                   month;        /* 0..11 */
    int                   day;          /* 1..31 */
    int                   hour;
    int                   minute;
    int                   second;       /* 60 is a leap second */
} res_hint_date_t;


typedef struct {
    const char           *name;
    uint64_t              ns;
} res_hint_unit_t;


static int res_hint_http_date(res_hint_text_t *t, uint64_t now,
    res_hint_date_t *d);
static int res_hint_fixdate(res_hint_text_t *t, res_hint_date_t *d);
static int res_hint_rfc850(res_hint_text_t *t, uint64_t now,
    res_hint_date_t *d);
static int res_hint_asctime(res_hint_text_t *t, res_hint_date_t *d);
static int res_hint_century(int year, const res_hint_date_t *d, uint64_t now);
static int64_t res_hint_epoch(const res_hint_number_t *n, uint64_t now);
static int res_hint_offset(res_hint_text_t *t, int64_t *seconds);
static int res_hint_date(res_hint_text_t *t, res_hint_date_t *d);
static int res_hint_time(res_hint_text_t *t, res_hint_date_t *d);
static int res_hint_month(res_hint_text_t *t, res_hint_date_t *d);
static int res_hint_real(const res_hint_date_t *d);
static int64_t res_hint_seconds(const res_hint_date_t *d);
static int res_hint_leap(int year);

static int64_t res_hint_wait(int64_t seconds, uint32_t billionths,
    uint64_t now);
static int64_t res_hint_from(uint64_t ms, uint64_t now);
static uint64_t res_hint_unit(res_hint_text_t *t);
static uint64_t res_hint_ns(const res_hint_number_t *n, uint64_t unit);
static uint64_t res_hint_up(uint64_t value, uint64_t unit);

static res_hint_text_t res_hint_trim(const unsigned char *data, size_t len);
static int res_hint_number(res_hint_text_t *t, res_hint_number_t *n);
static size_t res_hint_fraction(res_hint_text_t *t, uint32_t *billionths);
static int res_hint_digits(res_hint_text_t *t, size_t min, size_t max,
    int *value);
static int res_hint_digit(const res_hint_text_t *t);
static int res_hint_name(res_hint_text_t *t, const char *const names[],
    int n);
static int res_hint_skip(res_hint_text_t *t, const char *text);
static unsigned char res_hint_lower(unsigned char c);


static const char *const  res_hint_days[] = {
    "sun", "mon", "tue", "wed", "thu", "fri", "sat"
};

static const char *const  res_hint_long_days[] = {
    "sunday", "monday", "tuesday", "wednesday", "thursday", "friday",
    "saturday"
};

static const char *const  res_hint_months[] = {
    "jan", "feb", "mar", "apr", "may", "jun",
    "jul", "aug", "sep", "oct", "nov", "dec"
};


int64_t
res_hint_retry_after(const unsigned char *data, size_t len,
    uint64_t now_unix_ms)
{
    res_hint_text_t    t, rest;
    res_hint_date_t    d;
    res_hint_number_t  n;

    t = res_hint_trim(data, len);
    rest = t;

    if (res_hint_number(&rest, &n) && rest.p == rest.last) {
        return (int64_t) res_hint_up(res_hint_ns(&n, RES_HINT_SECOND),
                                     1000000);
    }

    memset(&d, 0, sizeof(res_hint_date_t));

    if (!res_hint_http_date(&t, now_unix_ms, &d) || t.p != t.last
        || !res_hint_real(&d))
    {
        return -1;
    }

    return res_hint_wait(res_hint_seconds(&d), 0, now_unix_ms);
}


int64_t
res_hint_ms(const unsigned char *data, size_t len)
{
    res_hint_text_t    t;
    res_hint_number_t  n;

    t = res_hint_trim(data, len);

    if (!res_hint_number(&t, &n) || t.p != t.last) {
        return -1;
    }

    return (int64_t) res_hint_up(res_hint_ns(&n, 1000000), 1000000);
}


int64_t
res_hint_duration(const unsigned char *data, size_t len)
{
    uint64_t           unit, ns;
    res_hint_text_t    t;
    res_hint_number_t  n;

    t = res_hint_trim(data, len);

    if (!res_hint_number(&t, &n)) {
        return -1;
    }

    if (t.p == t.last) {
        return (int64_t) res_hint_up(res_hint_ns(&n, RES_HINT_SECOND),
                                     1000000);
    }

    ns = 0;

    for ( ;; ) {
        unit = res_hint_unit(&t);

        if (unit == 0) {
            return -1;
        }

        ns += res_hint_ns(&n, unit);

        if (ns > RES_HINT_MAX_NS) {
            ns = RES_HINT_MAX_NS;
        }

        if (t.p == t.last) {
            return (int64_t) res_hint_up(ns, 1000000);
        }

        if (!res_hint_number(&t, &n)) {
            return -1;
        }
    }
}


int64_t
res_hint_timestamp(const unsigned char *data, size_t len,
    uint64_t now_unix_ms)
{
    int64_t            offset;
    uint32_t           billionths;
    res_hint_text_t    t, rest;
    res_hint_date_t    d;
    res_hint_number_t  n;

    t = res_hint_trim(data, len);
    rest = t;

    if (res_hint_number(&rest, &n) && rest.p == rest.last) {
        return res_hint_epoch(&n, now_unix_ms);
    }

    memset(&d, 0, sizeof(res_hint_date_t));
    billionths = 0;

    if (!res_hint_date(&t, &d)
        || !(res_hint_skip(&t, "t") || res_hint_skip(&t, " "))
        || !res_hint_time(&t, &d)
        || (res_hint_skip(&t, ".")
            && res_hint_fraction(&t, &billionths) == 0)
        || !res_hint_offset(&t, &offset)
        || t.p != t.last
        || !res_hint_real(&d))
    {
        return -1;
    }

    return res_hint_wait(res_hint_seconds(&d) - offset, billionths,
                         now_unix_ms);
}


static int
res_hint_http_date(res_hint_text_t *t, uint64_t now, res_hint_date_t *d)
{
    if (res_hint_name(t, res_hint_long_days, 7) >= 0) {
        return res_hint_skip(t, ", ") && res_hint_rfc850(t, now, d);
    }

    if (res_hint_name(t, res_hint_days, 7) < 0) {
        return 0;
    }

    if (res_hint_skip(t, ", ")) {
        return res_hint_fixdate(t, d);
    }

    return res_hint_skip(t, " ") && res_hint_asctime(t, d);
}


/* 06 Nov 1994 08:49:37 GMT */

static int
res_hint_fixdate(res_hint_text_t *t, res_hint_date_t *d)
{
    return res_hint_digits(t, 1, 2, &d->day)
           && res_hint_skip(t, " ")
           && res_hint_month(t, d)
           && res_hint_skip(t, " ")
           && res_hint_digits(t, 4, 4, &d->year)
           && res_hint_skip(t, " ")
           && res_hint_time(t, d)
           && res_hint_skip(t, " gmt");
}


/* 06-Nov-94 08:49:37 GMT */

static int
res_hint_rfc850(res_hint_text_t *t, uint64_t now, res_hint_date_t *d)
{
    int  year;

    year = 0;

    if (!(res_hint_digits(t, 2, 2, &d->day)
          && res_hint_skip(t, "-")
          && res_hint_month(t, d)
          && res_hint_skip(t, "-")
          && res_hint_digits(t, 2, 2, &year)
          && res_hint_skip(t, " ")
          && res_hint_time(t, d)
          && res_hint_skip(t, " gmt")))
    {
        return 0;
    }

    d->year = res_hint_century(year, d, now);

    return 1;
}


/* Nov  6 08:49:37 1994 */

static int
res_hint_asctime(res_hint_text_t *t, res_hint_date_t *d)
{
    return res_hint_month(t, d)
           && res_hint_skip(t, " ")
           && (res_hint_skip(t, " ")
                   ? res_hint_digits(t, 1, 1, &d->day)
                   : res_hint_digits(t, 2, 2, &d->day))
           && res_hint_skip(t, " ")
           && res_hint_time(t, d)
           && res_hint_skip(t, " ")
           && res_hint_digits(t, 4, 4, &d->year);
}


static int
res_hint_century(int year, const res_hint_date_t *d, uint64_t now)
{
    int64_t          limit;
    res_hint_date_t  next;

    limit = (int64_t) (now / 1000) + RES_HINT_50_YEARS;
    next = *d;
    next.year = 1900 + year;

    while (next.year < 9900) {
        next.year += 100;

        if (res_hint_seconds(&next) > limit) {
            next.year -= 100;
            break;
        }
    }

    return next.year;
}


static int64_t
res_hint_epoch(const res_hint_number_t *n, uint64_t now)
{
    uint64_t  unit;

    if (n->whole < 100000000000) {
        return res_hint_wait((int64_t) n->whole, n->billionths, now);
    }

    unit = (n->whole < 100000000000000) ? 1
           : (n->whole < 100000000000000000) ? 1000 : 1000000;

    return res_hint_from(n->whole / unit
                         + (n->whole % unit != 0 || n->billionths != 0), now);
}


/* Z, +01:00 */

static int
res_hint_offset(res_hint_text_t *t, int64_t *seconds)
{
    int  sign, hour, minute;

    *seconds = 0;

    if (res_hint_skip(t, "z")) {
        return 1;
    }

    sign = res_hint_skip(t, "+") ? 1 : res_hint_skip(t, "-") ? -1 : 0;

    if (sign == 0
        || !res_hint_digits(t, 2, 2, &hour)
        || !res_hint_skip(t, ":")
        || !res_hint_digits(t, 2, 2, &minute)
        || hour > 23 || minute > 59)
    {
        return 0;
    }

    *seconds = sign * (hour * 3600 + minute * 60);

    return 1;
}


/* 1994-11-06 */

static int
res_hint_date(res_hint_text_t *t, res_hint_date_t *d)
{
    int  month;

    month = 0;

    if (!(res_hint_digits(t, 4, 4, &d->year)
          && res_hint_skip(t, "-")
          && res_hint_digits(t, 2, 2, &month)
          && res_hint_skip(t, "-")
          && res_hint_digits(t, 2, 2, &d->day)))
    {
        return 0;
    }

    d->month = month - 1;

    return 1;
}


/* 08:49:37 */

static int
res_hint_time(res_hint_text_t *t, res_hint_date_t *d)
{
    return res_hint_digits(t, 2, 2, &d->hour)
           && res_hint_skip(t, ":")
           && res_hint_digits(t, 2, 2, &d->minute)
           && res_hint_skip(t, ":")
           && res_hint_digits(t, 2, 2, &d->second);
}


static int
res_hint_month(res_hint_text_t *t, res_hint_date_t *d)
{
    d->month = res_hint_name(t, res_hint_months, 12);

    return d->month >= 0;
}


static int
res_hint_real(const res_hint_date_t *d)
{
    int  days;

    static const int  lengths[] = {
        31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31
    };

    if (d->month < 0 || d->month > 11) {
        return 0;
    }

    days = lengths[d->month];

    if (d->month == 1 && res_hint_leap(d->year)) {
        days++;
    }

    return d->day >= 1 && d->day <= days && d->hour <= 23 && d->minute <= 59
           && d->second <= 60;
}


/* since 1970; the month is a real one */

static int64_t
res_hint_seconds(const res_hint_date_t *d)
{
    int64_t  days;

    static const int  before[] = {
        0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334
    };

    /* of the years before, those of 4 but not 100, or of 400, are longer */

    days = d->year * 365 + (d->year + 3) / 4 - (d->year + 99) / 100
           + (d->year + 399) / 400;

    days += before[d->month] + d->day - 1 - RES_HINT_DAYS_1970;

    if (d->month > 1 && res_hint_leap(d->year)) {
        days++;
    }

    return days * 86400 + d->hour * 3600 + d->minute * 60 + d->second;
}


static int
res_hint_leap(int year)
{
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}


static int64_t
res_hint_wait(int64_t seconds, uint32_t billionths, uint64_t now)
{
    if (seconds < 0) {
        return 0;
    }

    return res_hint_from((uint64_t) seconds * 1000
                         + res_hint_up(billionths, 1000000), now);
}


static int64_t
res_hint_from(uint64_t ms, uint64_t now)
{
    if (ms <= now) {
        return 0;
    }

    ms -= now;

    return ms < (uint64_t) RES_HINT_MAX ? (int64_t) ms : RES_HINT_MAX;
}


/* 0: none is named */

static uint64_t
res_hint_unit(res_hint_text_t *t)
{
    size_t  i, len;

    static const res_hint_unit_t  units[] = {
        { "h", (uint64_t) 3600 * RES_HINT_SECOND },
        { "ms", 1000000 },
        { "m", (uint64_t) 60 * RES_HINT_SECOND },
        { "s", RES_HINT_SECOND },
        { "us", 1000 },
        { "\xc2\xb5s", 1000 },          /* U+00B5, the micro sign */
        { "\xce\xbcs", 1000 },          /* U+03BC, the letter mu */
        { "ns", 1 }
    };

    for (i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        len = strlen(units[i].name);

        if ((size_t) (t->last - t->p) >= len
            && memcmp(t->p, units[i].name, len) == 0)
        {
            t->p += len;
            return units[i].ns;
        }
    }

    return 0;
}


/* so many units, each of ns, are a divisor or a multiple of 10^9 */

static uint64_t
res_hint_ns(const res_hint_number_t *n, uint64_t unit)
{
    uint64_t  ns;

    if (n->whole > RES_HINT_MAX_NS / unit) {
        return RES_HINT_MAX_NS;
    }

    ns = n->whole * unit;

    if (unit < RES_HINT_SECOND) {
        ns += res_hint_up(n->billionths, RES_HINT_SECOND / unit);

    } else {
        ns += n->billionths * (unit / RES_HINT_SECOND);
    }

    return ns < RES_HINT_MAX_NS ? ns : RES_HINT_MAX_NS;
}


static uint64_t
res_hint_up(uint64_t value, uint64_t unit)
{
    return value / unit + (value % unit != 0);
}


static res_hint_text_t
res_hint_trim(const unsigned char *data, size_t len)
{
    res_hint_text_t  t;

    t.p = data;
    t.last = data;

    if (len == 0) {
        return t;
    }

    t.last += len;

    while (t.p < t.last && (*t.p == ' ' || *t.p == '\t')) {
        t.p++;
    }

    while (t.p < t.last && (t.last[-1] == ' ' || t.last[-1] == '\t')) {
        t.last--;
    }

    return t;
}


static int
res_hint_number(res_hint_text_t *t, res_hint_number_t *n)
{
    int     digit;
    size_t  digits;

    n->whole = 0;
    n->billionths = 0;

    digits = 0;

    for ( ;; ) {
        digit = res_hint_digit(t);

        if (digit < 0) {
            break;
        }

        if (n->whole > (UINT64_MAX - digit) / 10) {
            n->whole = UINT64_MAX;

        } else {
            n->whole = n->whole * 10 + digit;
        }

        t->p++;
        digits++;
    }

    if (res_hint_skip(t, ".")) {
        digits += res_hint_fraction(t, &n->billionths);
    }

    return digits != 0;
}


/* the number of its digits */

static size_t
res_hint_fraction(res_hint_text_t *t, uint32_t *billionths)
{
    int       digit, more;
    size_t    digits;
    uint32_t  value, unit;

    value = 0;
    unit = RES_HINT_SECOND;
    more = 0;

    for (digits = 0; /* void */ ; digits++) {
        digit = res_hint_digit(t);

        if (digit < 0) {
            break;
        }

        unit /= 10;
        value += unit * digit;
        more |= (unit == 0 && digit != 0);

        t->p++;
    }

    *billionths = value + more;

    return digits;
}


static int
res_hint_digits(res_hint_text_t *t, size_t min, size_t max, int *value)
{
    int     digit;
    size_t  digits;

    *value = 0;

    for (digits = 0; digits < max; digits++) {
        digit = res_hint_digit(t);

        if (digit < 0) {
            break;
        }

        *value = *value * 10 + digit;
        t->p++;
    }

    return digits >= min;
}


/* the one that comes next, or -1 */

static int
res_hint_digit(const res_hint_text_t *t)
{
    if (t->p == t->last || *t->p < '0' || *t->p > '9') {
        return -1;
    }

    return *t->p - '0';
}


/* which of the names comes next, or -1 */

static int
res_hint_name(res_hint_text_t *t, const char *const names[], int n)
{
    int  i;

    for (i = 0; i < n; i++) {
        if (res_hint_skip(t, names[i])) {
            return i;
        }
    }

    return -1;
}


/* 1 if the text, in lower case here, comes next in any case */

static int
res_hint_skip(res_hint_text_t *t, const char *text)
{
    const unsigned char  *p;

    for (p = t->p; *text; p++, text++) {
        if (p == t->last || res_hint_lower(*p) != (unsigned char) *text) {
            return 0;
        }
    }

    t->p = p;

    return 1;
}


static unsigned char
res_hint_lower(unsigned char c)
{
    return (c >= 'A' && c <= 'Z') ? (unsigned char) (c | 0x20) : c;
}
