
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "engine/hint.h"
#include "tap.h"

#include <stdlib.h>
#include <time.h>


#define MAX      RES_HINT_MAX
#define BAD      (-1)

#define SECOND   ((int64_t) 1000)
#define MINUTE   (60 * SECOND)
#define HOUR     (60 * MINUTE)
#define DAY      (24 * HOUR)

#define NINES    "99999999999999999999999999999999999999999999999999"
#define ZEROS    "00000000000000000000000000000000000000000000000000"

/* Sun, 06 Nov 1994 08:49:37 GMT */

#define THEN     ((uint64_t) 784111777 * 1000)

/* Mon, 01 Jan 2024 00:00:00 GMT */

#define Y2024    ((uint64_t) 1704067200 * 1000)


typedef enum {
    AFTER = 0,
    MS,
    DURATION,
    STAMP
} form_e;


typedef struct {
    form_e       form;
    const char  *text;
    uint64_t     now;
    int64_t      want;
} row_t;


static const char *const  forms[] = {
    "retry_after", "ms", "duration", "timestamp"
};


static const row_t  rows[] = {

    /* seconds */

    { AFTER, "0", THEN, 0 },
    { AFTER, "1", THEN, SECOND },
    { AFTER, "120", THEN, 120 * SECOND },
    { AFTER, "00120", THEN, 120 * SECOND },
    { AFTER, "1.5", THEN, 1500 },
    { AFTER, "1.500", THEN, 1500 },
    { AFTER, "0.001", THEN, 1 },
    { AFTER, "0.0", THEN, 0 },
    { AFTER, "0." ZEROS, THEN, 0 },
    { AFTER, "17.", THEN, 17 * SECOND },
    { AFTER, ".5", THEN, 500 },
    { AFTER, " 120", THEN, 120 * SECOND },
    { AFTER, "120 ", THEN, 120 * SECOND },
    { AFTER, " \t 120\t\t ", THEN, 120 * SECOND },

    /* rounded up */

    { AFTER, "0.0001", THEN, 1 },
    { AFTER, "0.0009", THEN, 1 },
    { AFTER, "0.0010", THEN, 1 },
    { AFTER, "0.00100001", THEN, 2 },
    { AFTER, "0.001000001", THEN, 2 },
    { AFTER, "0.0010000001", THEN, 2 },
    { AFTER, "0." ZEROS "1", THEN, 1 },
    { AFTER, "1.9990001", THEN, 2000 },
    { AFTER, "1.9999999999", THEN, 2000 },
    { AFTER, "0." NINES, THEN, 1000 },
    { AFTER, "9." NINES, THEN, 10000 },

    /* the greatest */

    { AFTER, "315360000", THEN, MAX },
    { AFTER, "315359999.999", THEN, MAX - 1 },
    { AFTER, "315359999.9991", THEN, MAX },
    { AFTER, "315360000.001", THEN, MAX },
    { AFTER, "315360001", THEN, MAX },
    { AFTER, "4294967296", THEN, MAX },
    { AFTER, "18446744073709551", THEN, MAX },
    { AFTER, "18446744073709551614", THEN, MAX },
    { AFTER, "18446744073709551615", THEN, MAX },
    { AFTER, "18446744073709551616", THEN, MAX },
    { AFTER, "184467440737095516150", THEN, MAX },
    { AFTER, "184467440737095516160", THEN, MAX },
    { AFTER, NINES, THEN, MAX },
    { AFTER, NINES NINES "." NINES NINES, THEN, MAX },
    { AFTER, ZEROS ZEROS "7", THEN, 7 * SECOND },
    { AFTER, "18446744074", THEN, MAX },

    /* no seconds */

    { AFTER, "", THEN, BAD },
    { AFTER, " ", THEN, BAD },
    { AFTER, "\t \t", THEN, BAD },
    { AFTER, ".", THEN, BAD },
    { AFTER, "..", THEN, BAD },
    { AFTER, "1..5", THEN, BAD },
    { AFTER, "1.5.", THEN, BAD },
    { AFTER, "-1", THEN, BAD },
    { AFTER, "-0", THEN, BAD },
    { AFTER, "+1", THEN, BAD },
    { AFTER, "1-", THEN, BAD },
    { AFTER, "1e3", THEN, BAD },
    { AFTER, "0x10", THEN, BAD },
    { AFTER, "1,5", THEN, BAD },
    { AFTER, "1 2", THEN, BAD },
    { AFTER, "1 .5", THEN, BAD },
    { AFTER, "120s", THEN, BAD },
    { AFTER, "120\n", THEN, BAD },
    { AFTER, "\"120\"", THEN, BAD },
    { AFTER, "inf", THEN, BAD },
    { AFTER, "nan", THEN, BAD },
    { AFTER, "soon", THEN, BAD },
    { AFTER, "\xd9\xa1", THEN, BAD },

    /* the three forms of a date */

    { AFTER, "Sun, 06 Nov 1994 08:49:37 GMT", THEN, 0 },
    { AFTER, "Sun, 06 Nov 1994 08:49:37 GMT", THEN - 1, 1 },
    { AFTER, "Sun, 06 Nov 1994 08:49:37 GMT", THEN - 999, 999 },
    { AFTER, "Sun, 06 Nov 1994 08:49:37 GMT", THEN - 60000, MINUTE },
    { AFTER, "Sun, 06 Nov 1994 08:49:37 GMT", THEN + 1, 0 },
    { AFTER, "Sun, 06 Nov 1994 08:49:37 GMT", THEN + 1000, 0 },
    { AFTER, "Sun, 06 Nov 1994 08:49:37 GMT", 0, MAX },
    { AFTER, "Sun, 06 Nov 1994 08:49:37 GMT", UINT64_MAX, 0 },
    { AFTER, "Sunday, 06-Nov-94 08:49:37 GMT", THEN - 5000, 5000 },
    { AFTER, "Sunday, 06-Nov-94 08:49:37 GMT", THEN + 5000, 0 },
    { AFTER, "Sun Nov  6 08:49:37 1994", THEN - 5000, 5000 },
    { AFTER, "Sun Nov  6 08:49:37 1994", THEN + 5000, 0 },
    { AFTER, "Sun Nov 06 08:49:37 1994", THEN - 5000, 5000 },
    { AFTER, "Sun Nov 16 08:49:37 1994", THEN, 10 * DAY },
    { AFTER, "Sun, 6 Nov 1994 08:49:37 GMT", THEN - 5000, 5000 },
    { AFTER, "sun, 06 nov 1994 08:49:37 gmt", THEN - 5000, 5000 },
    { AFTER, "SUNDAY, 06-NOV-94 08:49:37 GMT", THEN - 5000, 5000 },
    { AFTER, "sUN nOV  6 08:49:37 1994", THEN - 5000, 5000 },
    { AFTER, " Sun, 06 Nov 1994 08:49:37 GMT\t", THEN - 5000, 5000 },
    { AFTER, "\t Sun Nov  6 08:49:37 1994 ", THEN - 5000, 5000 },

    /* each day of the week, whether or not it is that one */

    { AFTER, "Mon, 06 Nov 1994 08:49:37 GMT", THEN - 5000, 5000 },
    { AFTER, "Tue, 06 Nov 1994 08:49:37 GMT", THEN - 5000, 5000 },
    { AFTER, "Wed, 06 Nov 1994 08:49:37 GMT", THEN - 5000, 5000 },
    { AFTER, "Thu, 06 Nov 1994 08:49:37 GMT", THEN - 5000, 5000 },
    { AFTER, "Fri, 06 Nov 1994 08:49:37 GMT", THEN - 5000, 5000 },
    { AFTER, "Sat, 06 Nov 1994 08:49:37 GMT", THEN - 5000, 5000 },
    { AFTER, "Monday, 06-Nov-94 08:49:37 GMT", THEN - 5000, 5000 },
    { AFTER, "Tuesday, 06-Nov-94 08:49:37 GMT", THEN - 5000, 5000 },
    { AFTER, "Wednesday, 06-Nov-94 08:49:37 GMT", THEN - 5000, 5000 },
    { AFTER, "Thursday, 06-Nov-94 08:49:37 GMT", THEN - 5000, 5000 },
    { AFTER, "Friday, 06-Nov-94 08:49:37 GMT", THEN - 5000, 5000 },
    { AFTER, "Saturday, 06-Nov-94 08:49:37 GMT", THEN - 5000, 5000 },

    /* the ends of the calendar */

    { AFTER, "Thu, 01 Jan 1970 00:00:00 GMT", 0, 0 },
    { AFTER, "Thu, 01 Jan 1970 00:00:01 GMT", 0, SECOND },
    { AFTER, "Wed, 31 Dec 1969 23:59:59 GMT", 0, 0 },
    { AFTER, "Sat, 01 Jan 0000 00:00:00 GMT", 0, 0 },
    { AFTER, "Fri, 31 Dec 9999 23:59:59 GMT", 0, MAX },
    { AFTER, "Fri, 31 Dec 9999 23:59:59 GMT", 253402300799000 - 1, 1 },
    { AFTER, "Mon, 31 Dec 1979 00:00:00 GMT", 0, 3651 * DAY - DAY },
    { AFTER, "Tue, 01 Jan 1980 00:00:00 GMT", 0, MAX },
    { AFTER, "Tue, 19 Jan 2038 03:14:08 GMT", 2147483647000, SECOND },

    /* leap years, leap seconds */

    { AFTER, "Thu, 29 Feb 2024 00:00:00 GMT", Y2024, 59 * DAY },
    { AFTER, "Fri, 01 Mar 2024 00:00:00 GMT", Y2024, 60 * DAY },
    { AFTER, "Sat, 29 Feb 2025 00:00:00 GMT", Y2024, BAD },
    { AFTER, "Sat, 01 Mar 2025 00:00:00 GMT", Y2024, 425 * DAY },
    { AFTER, "Tue, 29 Feb 2000 00:00:00 GMT", 951782400000 - 7, 7 },
    { AFTER, "Wed, 01 Mar 2000 00:00:00 GMT", 951782400000, DAY },
    { AFTER, "Mon, 29 Feb 2100 00:00:00 GMT", Y2024, BAD },
    { AFTER, "Mon, 01 Mar 2100 00:00:00 GMT", 4107456000000, DAY },
    { AFTER, "Thu, 29 Feb 1900 00:00:00 GMT", Y2024, BAD },
    { AFTER, "Tue, 29 Feb 2400 00:00:00 GMT", Y2024, MAX },
    { AFTER, "Sat, 31 Dec 2016 23:59:60 GMT", 1483228800000 - 9, 9 },
    { AFTER, "Sat, 31 Dec 2016 23:59:61 GMT", 1483228800000 - 9, BAD },

    /* two digits of a year, ahead of the year, the century, 50 years */

    { AFTER, "Monday, 01-Jan-24 00:00:00 GMT", Y2024 - 5000, 5000 },
    { AFTER, "Sunday, 31-Dec-23 23:59:59 GMT", Y2024, 0 },
    { AFTER, "Wednesday, 01-Jan-25 00:00:00 GMT", Y2024, 366 * DAY },
    { AFTER, "Friday, 01-Jan-34 00:00:00 GMT", Y2024, MAX },
    { AFTER, "Monday, 01-Jan-73 00:00:00 GMT", Y2024, MAX },
    { AFTER, "Monday, 01-Jan-75 00:00:00 GMT", Y2024, 0 },
    { AFTER, "Friday, 31-Dec-99 00:00:00 GMT", Y2024, 0 },
    { AFTER, "Saturday, 01-Jan-00 00:00:00 GMT", 946684800000 - 1, 1 },
    { AFTER, "Friday, 31-Dec-99 23:59:59 GMT", 946684800000, 0 },
    { AFTER, "Friday, 01-Jan-00 00:00:00 GMT", 4102444800000 - 3, 3 },
    { AFTER, "Tuesday, 29-Feb-00 00:00:00 GMT", 951782400000 - 7, 7 },
    { AFTER, "Tuesday, 29-Feb-00 00:00:00 GMT", 4102444800000, BAD },
    { AFTER, "Thursday, 01-Jan-70 00:00:01 GMT", 0, SECOND },
    { AFTER, "Saturday, 01-Jan-00 00:00:00 GMT", 0, MAX },
    { AFTER, "Saturday, 01-Jan-00 00:00:00 GMT", UINT64_MAX, 0 },

    /* nearly a date */

    { AFTER, "Sun, 06 Nov 1994 08:49:37", THEN, BAD },
    { AFTER, "Sun, 06 Nov 1994 08:49:37 ", THEN, BAD },
    { AFTER, "Sun, 06 Nov 1994 08:49:37 UTC", THEN, BAD },
    { AFTER, "Sun, 06 Nov 1994 08:49:37 GMTX", THEN, BAD },
    { AFTER, "Sun, 06 Nov 1994 08:49:37 GMT x", THEN, BAD },
    { AFTER, "Sun, 06 Nov 1994 08:49:37 +0000", THEN, BAD },
    { AFTER, "Sun, 06 Nov 1994 08:49:37GMT", THEN, BAD },
    { AFTER, "Sun, 06 Nov 1994 8:49:37 GMT", THEN, BAD },
    { AFTER, "Sun, 06 Nov 1994 08:49 GMT", THEN, BAD },
    { AFTER, "Sun, 06 Nov 1994 24:00:00 GMT", THEN, BAD },
    { AFTER, "Sun, 06 Nov 1994 08:60:00 GMT", THEN, BAD },
    { AFTER, "Sun, 06 Nov 1994 -1:00:00 GMT", THEN, BAD },
    { AFTER, "Sun, 00 Nov 1994 08:49:37 GMT", THEN, BAD },
    { AFTER, "Sun, 31 Nov 1994 08:49:37 GMT", THEN, BAD },
    { AFTER, "Sun, 32 Oct 1994 08:49:37 GMT", THEN, BAD },
    { AFTER, "Sun, 006 Nov 1994 08:49:37 GMT", THEN, BAD },
    { AFTER, "Sun,  6 Nov 1994 08:49:37 GMT", THEN, BAD },
    { AFTER, "Sun, 06 Nov 94 08:49:37 GMT", THEN, BAD },
    { AFTER, "Sun, 06 Nov 19940 08:49:37 GMT", THEN, BAD },
    { AFTER, "Sun, 06 Nox 1994 08:49:37 GMT", THEN, BAD },
    { AFTER, "Sun, 06 November 1994 08:49:37 GMT", THEN, BAD },
    { AFTER, "Sun, 06-Nov-1994 08:49:37 GMT", THEN, BAD },
    { AFTER, "Sun,06 Nov 1994 08:49:37 GMT", THEN, BAD },
    { AFTER, "Sun 06 Nov 1994 08:49:37 GMT", THEN, BAD },
    { AFTER, "Son, 06 Nov 1994 08:49:37 GMT", THEN, BAD },
    { AFTER, "Sund, 06 Nov 1994 08:49:37 GMT", THEN, BAD },
    { AFTER, "06 Nov 1994 08:49:37 GMT", THEN, BAD },
    { AFTER, "Sunday, 06 Nov 1994 08:49:37 GMT", THEN, BAD },
    { AFTER, "Sunday, 06-Nov-1994 08:49:37 GMT", THEN, BAD },
    { AFTER, "Sunday, 6-Nov-94 08:49:37 GMT", THEN, BAD },
    { AFTER, "Sunday, 06-Nov-94 08:49:37", THEN, BAD },
    { AFTER, "Sunday, 31-Nov-94 08:49:37 GMT", THEN, BAD },
    { AFTER, "Sun Nov 6 08:49:37 1994", THEN, BAD },
    { AFTER, "Sun Nov  16 08:49:37 1994", THEN, BAD },
    { AFTER, "Sun Nov  6 08:49:37 94", THEN, BAD },
    { AFTER, "Sun Nov  6 08:49:37 1994 GMT", THEN, BAD },
    { AFTER, "Sun Nov  0 08:49:37 1994", THEN, BAD },
    { AFTER, "Sunday Nov  6 08:49:37 1994", THEN, BAD },
    { AFTER, "Sunday, 006-Nov-94 08:49:37 GMT", THEN, BAD },
    { AFTER, "Sunday, 06-Nov-094 08:49:37 GMT", THEN, BAD },
    { AFTER, "Sunday, 06\rNov-94 08:49:37 GMT", THEN, BAD },
    { AFTER, "Sun Nov 006 08:49:37 1994", THEN, BAD },
    { AFTER, "Sun Nov  6 08:49:37 01994", THEN, BAD },
    { AFTER, "Sun, 06 Nov 01994 08:49:37 GMT", THEN, BAD },
    { AFTER, "Sun, 06 Nov 1994 008:49:37 GMT", THEN, BAD },
    { AFTER, "Sun, 06 Nov 1994 08:049:37 GMT", THEN, BAD },
    { AFTER, "Sun, 06 Nov 1994 08:49:037 GMT", THEN, BAD },
    { AFTER, "Sun Nov  6 08:49:60 1994", THEN, 23 * SECOND },
    { AFTER, "2024-01-01T00:00:00Z", THEN, BAD },

    /* ms */

    { MS, "1500", 0, 1500 },
    { MS, "1500.5", 0, 1501 },
    { MS, "1500.0", 0, 1500 },
    { MS, "1500.000000000", 0, 1500 },
    { MS, "1500.000000001", 0, 1501 },
    { MS, "1500.0000000001", 0, 1501 },
    { MS, "0", 0, 0 },
    { MS, "0.4", 0, 1 },
    { MS, ".4", 0, 1 },
    { MS, " 7\t", 0, 7 },
    { MS, "315359999999", 0, MAX - 1 },
    { MS, "315359999999.5", 0, MAX },
    { MS, "315360000000", 0, MAX },
    { MS, "315360000001", 0, MAX },
    { MS, "18446744073709551616", 0, MAX },
    { MS, NINES, 0, MAX },
    { MS, "", 0, BAD },
    { MS, ".", 0, BAD },
    { MS, "-1", 0, BAD },
    { MS, "1500ms", 0, BAD },
    { MS, "1 500", 0, BAD },
    { MS, "Sun, 06 Nov 1994 08:49:37 GMT", 0, BAD },

    /* durations */

    { DURATION, "1s", 0, SECOND },
    { DURATION, "6m0s", 0, 6 * MINUTE },
    { DURATION, "20ms", 0, 20 },
    { DURATION, "1h2m3.5s", 0, HOUR + 2 * MINUTE + 3500 },
    { DURATION, "59.7s", 0, 59700 },
    { DURATION, "2m59.56s", 0, 179560 },
    { DURATION, "7.66s", 0, 7660 },
    { DURATION, "17s", 0, 17 * SECOND },
    { DURATION, "0.5s", 0, 500 },
    { DURATION, "35617.7s", 0, 35617700 },
    { DURATION, "0s", 0, 0 },
    { DURATION, "0h0m0s", 0, 0 },
    { DURATION, "24h", 0, DAY },
    { DURATION, "1.5h", 0, 90 * MINUTE },
    { DURATION, "0.5m", 0, 30 * SECOND },
    { DURATION, ".5m", 0, 30 * SECOND },
    { DURATION, "1.m", 0, MINUTE },
    { DURATION, "1.5ms", 0, 2 },
    { DURATION, "999us", 0, 1 },
    { DURATION, "1000us", 0, 1 },
    { DURATION, "1001us", 0, 2 },
    { DURATION, "1000\xc2\xb5s", 0, 1 },
    { DURATION, "1001\xc2\xb5s", 0, 2 },
    { DURATION, "1000\xce\xbcs", 0, 1 },
    { DURATION, "1001\xce\xbcs", 0, 2 },
    { DURATION, "1ns", 0, 1 },
    { DURATION, "0.1ns", 0, 1 },
    { DURATION, "0.0ns", 0, 0 },
    { DURATION, "1000000ns", 0, 1 },
    { DURATION, "1000001ns", 0, 2 },
    { DURATION, "500us500us", 0, 1 },
    { DURATION, "500us501us", 0, 2 },
    { DURATION, "999ms1000000ns", 0, SECOND },
    { DURATION, "0.9ms0.9ms", 0, 2 },
    { DURATION, "999us0.5us0.5us", 0, 1 },
    { DURATION, "999us0.5us0.6us", 0, 2 },
    { DURATION, "0.9999999999s", 0, SECOND },
    { DURATION, "0.0000000001h", 0, 1 },
    { DURATION, "3s1h", 0, HOUR + 3 * SECOND },
    { DURATION, "1s1s1s", 0, 3 * SECOND },
    { DURATION, "1m1ms", 0, MINUTE + 1 },
    { DURATION, "1ms1m", 0, MINUTE + 1 },
    { DURATION, " 6m0s\t", 0, 6 * MINUTE },

    { DURATION, "17", 0, 17 * SECOND },
    { DURATION, "0", 0, 0 },
    { DURATION, "0.25", 0, 250 },
    { DURATION, "17.", 0, 17 * SECOND },

    { DURATION, "87600h", 0, MAX },
    { DURATION, "87599h59m59.999s", 0, MAX - 1 },
    { DURATION, "87599h59m59.9990001s", 0, MAX },
    { DURATION, "87600h1ns", 0, MAX },
    { DURATION, "87601h", 0, MAX },
    { DURATION, "50000h50000h", 0, MAX },
    { DURATION, "87600h87600h87600h87600h87600h87600h87600h87600h87600h"
                "87600h87600h87600h87600h87600h87600h87600h87600h87600h"
                "87600h87600h87600h87600h87600h87600h87600h87600h87600h"
                "87600h87600h87600h87600h87600h87600h87600h87600h87600h"
                "87600h87600h87600h87600h87600h87600h87600h87600h87600h"
                "87600h87600h87600h87600h87600h87600h87600h87600h87600h"
                "87600h87600h87600h87600h87600h87600h87600h", 0, MAX },
    { DURATION, "18446744073709551616ns", 0, MAX },
    { DURATION, "18446744073709551615ns", 0, MAX },
    { DURATION, "18446744074s", 0, MAX },
    { DURATION, "307445735m", 0, MAX },
    { DURATION, "5124096h", 0, MAX },
    { DURATION, NINES "h", 0, MAX },
    { DURATION, NINES, 0, MAX },

    { DURATION, "", 0, BAD },
    { DURATION, " ", 0, BAD },
    { DURATION, "s", 0, BAD },
    { DURATION, ".", 0, BAD },
    { DURATION, ".s", 0, BAD },
    { DURATION, "-1s", 0, BAD },
    { DURATION, "-1", 0, BAD },
    { DURATION, "+1s", 0, BAD },
    { DURATION, "1s-1s", 0, BAD },
    { DURATION, "1 s", 0, BAD },
    { DURATION, "1m 5s", 0, BAD },
    { DURATION, "1S", 0, BAD },
    { DURATION, "1M", 0, BAD },
    { DURATION, "1d", 0, BAD },
    { DURATION, "1w", 0, BAD },
    { DURATION, "1min", 0, BAD },
    { DURATION, "1sec", 0, BAD },
    { DURATION, "1h30", 0, BAD },
    { DURATION, "0s5", 0, BAD },
    { DURATION, "1mss", 0, BAD },
    { DURATION, "1\xc2\xb5", 0, BAD },
    { DURATION, "1\xc2s", 0, BAD },
    { DURATION, "1u", 0, BAD },
    { DURATION, "1n", 0, BAD },
    { DURATION, "1e3s", 0, BAD },
    { DURATION, "1..5s", 0, BAD },
    { DURATION, "00:06:00", 0, BAD },

    /* RFC 3339 */

    { STAMP, "2024-01-01T00:00:00Z", Y2024, 0 },
    { STAMP, "2024-01-01T00:00:00Z", Y2024 - 1, 1 },
    { STAMP, "2024-01-01T00:00:00Z", Y2024 + 1, 0 },
    { STAMP, "2024-01-01T00:00:00Z", 0, MAX },
    { STAMP, "2024-01-01T00:00:00Z", UINT64_MAX, 0 },
    { STAMP, "2024-01-01t00:00:10z", Y2024, 10 * SECOND },
    { STAMP, "2024-01-01 00:00:10Z", Y2024, 10 * SECOND },
    { STAMP, " 2024-01-01T00:00:10Z ", Y2024, 10 * SECOND },
    { STAMP, "2024-01-01T00:00:00.5Z", Y2024, 500 },
    { STAMP, "2024-01-01T00:00:00.123Z", Y2024, 123 },
    { STAMP, "2024-01-01T00:00:00.123456Z", Y2024, 124 },
    { STAMP, "2024-01-01T00:00:00.123000000Z", Y2024, 123 },
    { STAMP, "2024-01-01T00:00:00.123000001Z", Y2024, 124 },
    { STAMP, "2024-01-01T00:00:00.1230000000001Z", Y2024, 124 },
    { STAMP, "2024-01-01T00:00:00." NINES "Z", Y2024, SECOND },
    { STAMP, "2024-01-01T00:00:00+00:00", Y2024 - 1, 1 },
    { STAMP, "2024-01-01T00:00:00-00:00", Y2024 - 1, 1 },
    { STAMP, "2024-01-01T01:00:00+01:00", Y2024 - 1, 1 },
    { STAMP, "2023-12-31T19:00:00-05:00", Y2024 - 1, 1 },
    { STAMP, "2024-01-01T05:45:00+05:45", Y2024 - 1, 1 },
    { STAMP, "2024-01-01T23:59:00+23:59", Y2024 - 1, 1 },
    { STAMP, "2023-12-31T00:01:00-23:59", Y2024 - 1, 1 },
    { STAMP, "2024-01-01T01:00:00.25+01:00", Y2024, 250 },
    { STAMP, "2024-02-29T00:00:00Z", Y2024, 59 * DAY },
    { STAMP, "2024-12-31T23:59:60Z", Y2024, 366 * DAY },
    { STAMP, "1970-01-01T00:00:00.001Z", 0, 1 },
    { STAMP, "1970-01-01T00:00:00+00:01", 0, 0 },
    { STAMP, "1969-12-31T23:59:59.999Z", 0, 0 },
    { STAMP, "1969-12-31T23:59:59-00:01", 0, 59 * SECOND },
    { STAMP, "0000-01-01T00:00:00Z", 0, 0 },
    { STAMP, "9999-12-31T23:59:59Z", 253402300799000 - 1, 1 },

    { STAMP, "2024-01-01T00:00:00", Y2024, BAD },
    { STAMP, "2024-01-01", Y2024, BAD },
    { STAMP, "2024-01-01T00:00Z", Y2024, BAD },
    { STAMP, "2024-01-01T00:00:00.Z", Y2024, BAD },
    { STAMP, "2024-01-01T00:00:00,5Z", Y2024, BAD },
    { STAMP, "2024-01-01T00:00:00 Z", Y2024, BAD },
    { STAMP, "2024-01-01T00:00:00ZZ", Y2024, BAD },
    { STAMP, "2024-01-01T00:00:00+0100", Y2024, BAD },
    { STAMP, "2024-01-01T00:00:00+01", Y2024, BAD },
    { STAMP, "2024-01-01T00:00:00+1:00", Y2024, BAD },
    { STAMP, "2024-01-01T00:00:00+24:00", Y2024, BAD },
    { STAMP, "2024-01-01T00:00:00+01:60", Y2024, BAD },
    { STAMP, "2024-01-01T00:00:00UTC", Y2024, BAD },
    { STAMP, "2024-01-01_00:00:00Z", Y2024, BAD },
    { STAMP, "2024-01-01T24:00:00Z", Y2024, BAD },
    { STAMP, "2024-01-01T00:60:00Z", Y2024, BAD },
    { STAMP, "2024-01-01T00:00:61Z", Y2024, BAD },
    { STAMP, "2024-00-01T00:00:00Z", Y2024, BAD },
    { STAMP, "2024-13-01T00:00:00Z", Y2024, BAD },
    { STAMP, "2024-99-01T00:00:00Z", Y2024, BAD },
    { STAMP, "2024-01-00T00:00:00Z", Y2024, BAD },
    { STAMP, "2024-01-32T00:00:00Z", Y2024, BAD },
    { STAMP, "2024-04-31T00:00:00Z", Y2024, BAD },
    { STAMP, "2023-02-29T00:00:00Z", Y2024, BAD },
    { STAMP, "2024-1-1T00:00:00Z", Y2024, BAD },
    { STAMP, "24-01-01T00:00:00Z", Y2024, BAD },
    { STAMP, "12024-01-01T00:00:00Z", Y2024, BAD },
    { STAMP, "02024-01-01T00:00:00Z", Y2024, BAD },
    { STAMP, "2024-001-01T00:00:00Z", Y2024, BAD },
    { STAMP, "2024-01-001T00:00:00Z", Y2024, BAD },
    { STAMP, "2024-01-01T000:00:00Z", Y2024, BAD },
    { STAMP, "2024-01-01T00:00:00+001:00", Y2024, BAD },
    { STAMP, "2024-01-01T00:00:00+01:000", Y2024, BAD },
    { STAMP, "2024-01-01T00:00:0001:00", Y2024, BAD },
    { STAMP, "T00:00:00Z", Y2024, BAD },
    { STAMP, "-2024-01-01T00:00:00Z", Y2024, BAD },
    { STAMP, "Sun, 06 Nov 1994 08:49:37 GMT", THEN, BAD },

    /* numbers since 1970: seconds, ms, us, ns */

    { STAMP, "1704067200", Y2024, 0 },
    { STAMP, "1704067201", Y2024, SECOND },
    { STAMP, "1704067199", Y2024, 0 },
    { STAMP, "1704067200.25", Y2024, 250 },
    { STAMP, "1704067200.0001", Y2024, 1 },
    { STAMP, "1704067200.", Y2024 - 1, 1 },
    { STAMP, " 1704067201\t", Y2024, SECOND },
    { STAMP, "1704067200001", Y2024, 1 },
    { STAMP, "1704067200001.5", Y2024, 2 },
    { STAMP, "1704067200000", Y2024 + 1, 0 },
    { STAMP, "1704067200001000", Y2024, 1 },
    { STAMP, "1704067200001001", Y2024, 2 },
    { STAMP, "1704067200001000.1", Y2024, 2 },
    { STAMP, "1704067200001000000", Y2024, 1 },
    { STAMP, "1704067200001000001", Y2024, 2 },
    { STAMP, "99999999999", 99999999999000 - 5, 5 },
    { STAMP, "100000000000", 100000000000 - 5, 5 },
    { STAMP, "99999999999999", 99999999999999 - 5, 5 },
    { STAMP, "100000000000000", 100000000000 - 5, 5 },
    { STAMP, "99999999999999999", 100000000000000 - 5, 5 },
    { STAMP, "100000000000000000", 100000000000 - 5, 5 },
    { STAMP, "60", Y2024, 0 },
    { STAMP, "0", Y2024, 0 },
    { STAMP, "0", 0, 0 },
    { STAMP, "1", 0, SECOND },
    { STAMP, "315360000", 0, MAX },
    { STAMP, "315360001", 0, MAX },
    { STAMP, "315359999.999", 0, MAX - 1 },
    { STAMP, "18446744073709551615", Y2024, MAX },
    { STAMP, "18446744073709551616", Y2024, MAX },
    { STAMP, "18446744073709551620", Y2024, MAX },
    { STAMP, NINES, Y2024, MAX },
    { STAMP, NINES, UINT64_MAX, 0 },

    { STAMP, "", Y2024, BAD },
    { STAMP, " ", Y2024, BAD },
    { STAMP, ".", Y2024, BAD },
    { STAMP, "-1", Y2024, BAD },
    { STAMP, "-1704067201", Y2024, BAD },
    { STAMP, "1704067201s", Y2024, BAD },
    { STAMP, "1704067201,5", Y2024, BAD },
    { STAMP, "1.704067201e9", Y2024, BAD }
};


/* the text is copied, so that a byte read beyond its end is found out */

static int64_t
parse(form_e form, const char *text, size_t len, uint64_t now)
{
    int64_t         got;
    unsigned char  *copy;

    copy = malloc(len ? len : 1);
    memcpy(copy, text, len);

    switch (form) {

    case AFTER:
        got = res_hint_retry_after(copy, len, now);
        break;

    case MS:
        got = res_hint_ms(copy, len);
        break;

    case DURATION:
        got = res_hint_duration(copy, len);
        break;

    default: /* STAMP */
        got = res_hint_timestamp(copy, len, now);
        break;
    }

    free(copy);

    return got;
}


static void
test_rows(void)
{
    size_t        i;
    const row_t  *r;

    for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        r = &rows[i];

        is_int(parse(r->form, r->text, strlen(r->text), r->now), r->want,
               "%s \"%.60s\" at %llu", forms[r->form], r->text,
               (unsigned long long) r->now);
    }
}


static void
test_empty(void)
{
    is_int(res_hint_retry_after(NULL, 0, 0), BAD, "retry_after of nothing");
    is_int(res_hint_ms(NULL, 0), BAD, "ms of nothing");
    is_int(res_hint_duration(NULL, 0), BAD, "duration of nothing");
    is_int(res_hint_timestamp(NULL, 0, 0), BAD, "timestamp of nothing");

    is_int(parse(AFTER, "12\0", 3, 0), BAD, "retry_after with a zero byte");
    is_int(parse(MS, "12\0", 3, 0), BAD, "ms with a zero byte");
    is_int(parse(DURATION, "12s\0", 4, 0), BAD, "duration with a zero byte");
    is_int(parse(STAMP, "12\0", 3, 0), BAD, "timestamp with a zero byte");

    is_int(RES_HINT_MAX, 315360000000, "ten years");
}


/* 50 years are where a year of two digits turns from the future to the past */

static void
test_century(void)
{
    int       bad, year, base;
    char      text[64];
    uint64_t  at, now;

    at = 4070908800;                    /* 2099-01-01 */
    now = (at - 1577847600) * 1000;

    is_int(parse(AFTER, "Thursday, 01-Jan-99 00:00:00 GMT", 32, now), MAX,
           "50 years ahead");
    is_int(parse(AFTER, "Thursday, 01-Jan-99 00:00:00 GMT", 32, now + 999),
           MAX, "50 years ahead, and part of a second");
    is_int(parse(AFTER, "Thursday, 01-Jan-99 00:00:00 GMT", 32, now - 1), 0,
           "over 50 years ahead");

    /* whatever the year now, 49 years back to 49 years ahead */

    bad = 0;

    for (base = 1970; base < 2400; base++) {
        now = (uint64_t) (base - 1970) * 31556952 * 1000 + 15778476000;

        for (year = base - 49; year <= base + 49; year++) {
            (void) snprintf(text, sizeof(text),
                            "Monday, 02-Jul-%02d 12:00:00 GMT", year % 100);

            at = (uint64_t) parse(AFTER, text, strlen(text), now);

            bad += (year < base && at != 0);
            bad += (year > base && year < base + 10
                    && (at + 3 * DAY < (uint64_t) (year - base) * 365 * DAY
                        || at > (uint64_t) (year - base) * 366 * DAY
                                + 3 * DAY));
            bad += (year > base + 10 && at != (uint64_t) MAX);
        }
    }

    is_int(bad, 0, "years of two digits, from 1970 to 2400");
}


/* the last day of each month, and the day after that */

static void
test_months(void)
{
    int   i, bad;
    char  text[64];

    static const char *const  names[] = {
        "Jan", "Feb", "Mar", "Apr", "May", "Jun",
        "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"
    };

    static const int  lengths[] = {
        31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31
    };

    bad = 0;

    for (i = 0; i < 24; i++) {
        (void) snprintf(text, sizeof(text), "2023-%02d-%02dT00:00:00Z",
                        i / 2 + 1, lengths[i / 2] + i % 2);

        bad += ((parse(STAMP, text, strlen(text), 0) == BAD) != i % 2);

        (void) snprintf(text, sizeof(text), "Sun, %02d %s 2023 00:00:00 GMT",
                        lengths[i / 2] + i % 2, names[i / 2]);

        bad += ((parse(AFTER, text, strlen(text), 0) == BAD) != i % 2);
    }

    is_int(bad, 0, "months are as long as they are");
}


/* each day of four centuries, against the C library */

static void
test_calendar(void)
{
    int         i, bad[4];
    char        text[64];
    time_t      at;
    int64_t     got;
    uint64_t    now;
    struct tm   tm;

    static const char *const  patterns[] = {
        "%a, %d %b %Y %H:%M:%S GMT",
        "%A, %d-%b-%y %H:%M:%S GMT",
        "%a %b %e %H:%M:%S %Y",
        "%Y-%m-%dT%H:%M:%SZ"
    };

    memset(bad, 0, sizeof(bad));

    for (at = 86399; at < (time_t) 86400 * 365 * 420; at += 86400 + 1) {
        (void) gmtime_r(&at, &tm);

        for (i = 0; i < 4; i++) {
            (void) strftime(text, sizeof(text), patterns[i], &tm);

            now = (uint64_t) at * 1000 - 12345;
            got = parse(i == 3 ? STAMP : AFTER, text, strlen(text), now);

            if (got != 12345) {
                if (bad[i]++ == 0) {
                    printf("# %s: %lld\n", text, (long long) got);
                }
            }
        }
    }

    for (i = 0; i < 4; i++) {
        is_int(bad[i], 0, "each day as %s", patterns[i]);
    }
}


static uint64_t  seed = 0x9e3779b97f4a7c15;


static uint32_t
number(uint32_t limit)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;

    return (uint32_t) ((seed >> 16) % limit);
}


/* sums of parts, each exact here: of units, and billionths of units */

static void
test_sums(void)
{
    int                i, n, bad, unit, decimals, left, power;
    char               text[256], fraction[16];
    size_t             len;
    uint32_t           whole, part;
    unsigned __int128  sum;                 /* billionths of a ns */
    int64_t            want, got;

    static const char *const  units[] = { "h", "m", "s", "ms", "us", "ns" };

    static const uint64_t  ns[] = {
        3600000000000, 60000000000, 1000000000, 1000000, 1000, 1
    };

    bad = 0;

    for (i = 0; i < 100000; i++) {
        sum = 0;
        len = 0;

        for (n = 1 + (int) number(4); n > 0; n--) {
            unit = (int) number(6);

            /* below ms, parts are whole: each part is rounded up to a ns */

            decimals = (unit > 2) ? 0 : (int) number(10);

            whole = number(1 << number(18));
            part = 0;
            fraction[0] = '\0';

            for (power = 1, left = decimals; left > 0; left--) {
                power *= 10;
            }

            if (decimals) {
                part = number((uint32_t) power);
                (void) snprintf(fraction, sizeof(fraction), ".%0*u",
                                decimals, part);
                part *= 1000000000u / (uint32_t) power;
            }

            len += (size_t) snprintf(text + len, sizeof(text) - len,
                                     "%u%s%s", whole, fraction, units[unit]);

            sum += ((unsigned __int128) whole * 1000000000 + part) * ns[unit];
        }

        sum = (sum + 999999999999999) / 1000000000000000;

        want = sum < (uint64_t) MAX ? (int64_t) sum : MAX;
        got = parse(DURATION, text, len, 0);

        if (got != want && bad++ == 0) {
            printf("# %s: %lld, want %lld\n", text, (long long) got,
                   (long long) want);
        }
    }

    is_int(bad, 0, "sums of parts are exact, rounded up to a ms");
}


/* never less than said, at most 1 ms more, for any number of decimals */

static void
test_decimals(void)
{
    int          i, k, bad, decimals;
    char         text[64];
    size_t       len;
    int64_t      got;
    long double  exact;

    bad = 0;

    for (i = 0; i < 50000; i++) {
        len = (size_t) snprintf(text, sizeof(text), "%u.", number(100000));

        decimals = (int) number(14);

        for (k = 0; k < decimals; k++) {
            text[len++] = (char) ('0' + number(10) * (number(3) != 0));
        }

        text[len] = '\0';
        exact = strtold(text, NULL);

        got = parse(AFTER, text, len, 0);
        bad += (got < exact * 1000 - 1e-7L || got >= exact * 1000 + 1);

        bad += (parse(DURATION, text, len, 0) != got);
        bad += (parse(STAMP, text, len, 0) != got);

        got = parse(MS, text, len, 0);
        bad += (got < exact || got >= exact + 1);

        text[len++] = 'm';
        got = parse(DURATION, text, len, 0);
        bad += (got < exact * 60000 - 1e-5L || got >= exact * 60000 + 1.001L);
    }

    is_int(bad, 0, "decimals are rounded up, by less than 1 ms");
}


/*
 * Rubbish: cut, changed and random texts give a number in range, the same
 * with white space around it, and no byte beyond their end is looked at.
 */

static void
test_rubbish(void)
{
    int      form, bad, good;
    char     text[80], spaced[90];
    size_t   i, k, len;
    int64_t  got;

    static const char  alphabet[] =
        "0123456789.:-+ \tTZSunMondayNovGMThmsu\xc2\xb5,eE";

    bad = 0;
    good = 0;

    for (i = 0; i < 200000; i++) {

        if (number(2)) {
            len = strlen(rows[i % (sizeof(rows) / sizeof(rows[0]))].text);
            len = len < 70 ? len : 70;
            memcpy(text, rows[i % (sizeof(rows) / sizeof(rows[0]))].text, len);

            if (len && number(2)) {
                len = number((uint32_t) len);
            }

            if (len && number(2)) {
                text[number((uint32_t) len)] = (char) number(256);
            }

        } else {
            len = number(12);

            for (k = 0; k < len; k++) {
                text[k] = alphabet[number(sizeof(alphabet) - 1)];
            }
        }

        for (form = 0; form <= STAMP; form++) {
            got = parse((form_e) form, text, len, THEN);

            bad += (got < -1 || got > MAX);
            good += (got >= 0);

            k = number(4);
            memset(spaced, number(2) ? ' ' : '\t', k);
            memcpy(spaced + k, text, len);
            memset(spaced + k + len, number(2) ? ' ' : '\t', 4);

            bad += (parse((form_e) form, spaced, k + len + number(5), THEN)
                    != got);
        }
    }

    is_int(bad, 0, "rubbish does no harm");
    ok(good > 10000, "and is not all rubbish: %d", good);
}


int
main(void)
{
    test_rows();
    test_empty();
    test_century();
    test_months();
    test_calendar();
    test_sums();
    test_decimals();
    test_rubbish();

    return done_testing();
}
