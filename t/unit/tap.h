
/*
 * Test Anything Protocol: what a unit test needs of it.
 */


#ifndef RES_TAP_H_INCLUDED
#define RES_TAP_H_INCLUDED


#include <stdarg.h>
#include <stdio.h>
#include <string.h>


#define TAP_FUNCTION  static __attribute__((unused))
#define TAP_PRINTF(n) __attribute__((format(printf, n, n + 1)))


static int  tap_count;
static int  tap_failed;


TAP_FUNCTION int ok(int cond, const char *fmt, ...) TAP_PRINTF(2);
TAP_FUNCTION int is_int(long long got, long long want, const char *fmt, ...)
    TAP_PRINTF(3);
TAP_FUNCTION int is_str(const char *got, const char *want, const char *fmt,
    ...) TAP_PRINTF(3);
TAP_FUNCTION int done_testing(void);


static int
tap_result(int cond, const char *fmt, va_list args)
{
    tap_count++;

    if (!cond) {
        tap_failed++;
    }

    printf("%sok %d - ", cond ? "" : "not ", tap_count);
    vprintf(fmt, args);
    printf("\n");
    fflush(stdout);

    return cond;
}


TAP_FUNCTION int
ok(int cond, const char *fmt, ...)
{
    va_list  args;

    va_start(args, fmt);
    cond = tap_result(cond != 0, fmt, args);
    va_end(args);

    return cond;
}


TAP_FUNCTION int
is_int(long long got, long long want, const char *fmt, ...)
{
    int      cond;
    va_list  args;

    va_start(args, fmt);
    cond = tap_result(got == want, fmt, args);
    va_end(args);

    if (!cond) {
        printf("# got %lld, want %lld\n", got, want);
    }

    return cond;
}


TAP_FUNCTION int
is_str(const char *got, const char *want, const char *fmt, ...)
{
    int      cond;
    va_list  args;

    cond = (got == want || (got && want && strcmp(got, want) == 0));

    va_start(args, fmt);
    cond = tap_result(cond, fmt, args);
    va_end(args);

    if (!cond) {
        printf("# got \"%s\", want \"%s\"\n", got ? got : "(null)",
               want ? want : "(null)");
    }

    return cond;
}


/* prints the plan; 0 when every test passed */

TAP_FUNCTION int
done_testing(void)
{
    printf("1..%d\n", tap_count);

    if (tap_failed) {
        printf("# %d of %d failed\n", tap_failed, tap_count);
    }

    return tap_failed != 0;
}


#endif /* RES_TAP_H_INCLUDED */
