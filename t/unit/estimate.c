
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "engine/gcra.h"
#include "llm/estimate.h"
#include "tap.h"


static void
test_estimate(void)
{
    size_t  i;

    static const struct {
        int64_t  bytes;
        int64_t  tokens;
    } bodies[] = {
        { -1, 1 }, { 0, 1 }, { 1, 1 }, { 4, 1 }, { 7, 1 }, { 8, 2 },
        { 400, 100 }, { 5 << 20, 1310720 },
        { INT64_MAX, INT64_MAX / 4 }, { INT64_MIN, 1 }
    };

    for (i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
        is_int(llm_estimate(bodies[i].bytes), bodies[i].tokens,
               "tokens in %lld bytes", (long long) bodies[i].bytes);
    }
}


/*
 * A limit of 1000 tokens a minute, of which an estimate is taken and then
 * settled: what remains, -1 if something is owed.
 */

static void
test_spent(void)
{
    size_t             i;
    int64_t            spent;
    res_gcra_t         g;
    res_gcra_result_t  r;

    static const res_gcra_conf_t  conf = { 1000, 60000, 999 };

    static const struct {
        const char   *name;
        llm_usage_t   usage;
        int64_t       estimate;
        int64_t       spent;
        int64_t       remaining;
    } calls[] = {
        { "as estimated", { 100, 0 }, 100, 100, 900 },
        { "less", { 60, 20 }, 100, 80, 920 },
        { "more", { 60, 340 }, 100, 400, 600 },
        { "nothing", { 0, 0 }, 100, 0, 1000 },
        { "all there is", { 600, 400 }, 100, 1000, 0 },
        { "more than there is", { 600, 401 }, 100, 1001, -1 },
        { "far more than there is", { 1000000, 9 }, 100, 1000009, -1 },
        { "nothing known", { -1, -1 }, 100, 100, 900 },
        { "input known", { 150, -1 }, 100, 150, 850 },
        { "output known", { -1, 50 }, 100, 150, 850 },
        { "no sense", { INT64_MAX, INT64_MAX }, 100, INT64_MAX, -1 }
    };

    for (i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {

        memset(&g, 0, sizeof(g));

        (void) res_gcra_take(&g, &conf, (uint32_t) calls[i].estimate, 5000,
                             &r);

        spent = llm_spent(&calls[i].usage, calls[i].estimate);
        is_int(spent, calls[i].spent, "%s: spent", calls[i].name);

        res_gcra_settle(&g, &conf, spent - calls[i].estimate, 5000);

        (void) res_gcra_take(&g, &conf, 0, 5000, &r);
        is_int(r.allowed ? (int64_t) r.remaining : -1, calls[i].remaining,
               "%s: remaining", calls[i].name);
    }
}


int
main(void)
{
    test_estimate();
    test_spent();

    return done_testing();
}
