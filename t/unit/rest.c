
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


#include "engine/rest.h"
#include "tap.h"


#define PLACES  (RES_REST_SETS * RES_REST_WAYS)


static res_rests_t  rests;


static void
begin(uint64_t hash, uint32_t tenant, uint32_t owner, uint64_t until)
{
    res_rest_key_t  key = { hash, tenant };

    res_rest_begin(&rests, &key, owner, until);
}


static uint64_t
left(const res_rests_t *r, uint64_t hash, uint32_t tenant, uint64_t now)
{
    res_rest_key_t  key = { hash, tenant };

    return res_rest_left(r, &key, now);
}


static void
test_one(void)
{
    memset(&rests, 0, sizeof(rests));

    is_int(left(&rests, 7, 0, 0), 0, "an empty table");
    is_int(left(&rests, 0, 0, 0), 0, "a hash of 0 is none of its places");

    begin(7, 0, 1, 1000);

    is_int(left(&rests, 7, 0, 400), 600, "what is left");
    is_int(left(&rests, 7, 0, 999), 1, "the last ms");
    is_int(left(&rests, 7, 0, 1000), 0, "it is over");
    is_int(left(&rests, 8, 0, 400), 0, "another hash");
    is_int(left(&rests, 7, 3, 400), 0, "for all is not for one");

    begin(7, 0, 1, 500);
    is_int(left(&rests, 7, 0, 400), 600, "a shorter one changes nothing");

    begin(7, 0, 1, 2000);
    is_int(left(&rests, 7, 0, 400), 1600, "a longer one does");

    begin(7, 3, 1, 3000);
    is_int(left(&rests, 7, 3, 400), 2600, "for one tenant");
    is_int(left(&rests, 7, 4, 400), 0, "is not for another");
    is_int(left(&rests, 7, 0, 400), 1600, "nor for all");
}


static void
test_end(void)
{
    memset(&rests, 0, sizeof(rests));

    begin(1, 0, 1, 1000);
    begin(1, 3, 1, 1000);
    begin(1, 5, 1, 1000);
    begin(2, 0, 2, 1000);
    begin(2, 3, 2, 1000);

    res_rest_end(&rests, 1, 3);

    is_int(left(&rests, 1, 3, 0), 0, "ended for one tenant");
    is_int(left(&rests, 1, 5, 0), 1000, "not for another");
    is_int(left(&rests, 1, 0, 0), 1000, "nor for all");
    is_int(left(&rests, 2, 3, 0), 1000, "nor of another owner");

    res_rest_end(&rests, 1, 0);

    is_int(left(&rests, 1, 0, 0), 0, "ended for all");
    is_int(left(&rests, 1, 5, 0), 0, "and for each tenant");
    is_int(left(&rests, 2, 0, 0), 1000, "another owner's is as it was");

    begin(1, 0, 1, 500);
    is_int(left(&rests, 1, 0, 0), 500, "one that is shorter than the ended");
}


/* more than there are places: those that end last are kept */

static void
test_full(void)
{
    unsigned  i, kept, wrong;

    memset(&rests, 0, sizeof(rests));

    for (i = 0; i < PLACES; i++) {
        begin(1000 + i, 0, 1, 1000);
    }

    kept = 0;

    for (i = 0; i < PLACES; i++) {
        kept += (left(&rests, 1000 + i, 0, 0) != 0);
    }

    is_int(kept, PLACES, "hashes in a row have a place each");

    for (i = 0; i < PLACES; i++) {
        begin(5000 + i, 0, 1, 2000);
    }

    kept = 0;
    wrong = 0;

    for (i = 0; i < PLACES; i++) {
        kept += (left(&rests, 5000 + i, 0, 0) == 2000);
        wrong += (left(&rests, 1000 + i, 0, 0) != 0);
    }

    is_int(kept, PLACES, "later ones take the places");
    is_int(wrong, 0, "of those that end first");

    /* all of one set */

    memset(&rests, 0, sizeof(rests));

    for (i = 0; i < RES_REST_WAYS + 1; i++) {
        begin((uint64_t) RES_REST_SETS * (i + 1), 0, 1, 1000 + i);
    }

    is_int(left(&rests, RES_REST_SETS, 0, 0), 0, "the first to end is gone");
    is_int(left(&rests, RES_REST_SETS * 2, 0, 0), 1001, "the next is not");
    is_int(left(&rests, RES_REST_SETS * (RES_REST_WAYS + 1), 0, 0),
           1000 + RES_REST_WAYS, "nor is the last");
}


static void
test_copy(void)
{
    uint32_t     owners[] = { 5, RES_REST_GONE, 3 };
    res_rests_t  copy;

    memset(&rests, 0, sizeof(rests));
    memset(&copy, 0, sizeof(copy));

    begin(1, 0, 0, 1000);
    begin(2, 0, 1, 1000);
    begin(3, 0, 2, 1000);
    begin(4, 9, 0, 1000);
    begin(5, 0, 3, 1000);
    begin(6, 0, 0, 1000);
    res_rest_end(&rests, 9, 0);

    res_rest_copy(&copy, &rests, owners, 3);

    is_int(left(&copy, 1, 0, 0), 1000, "copied");
    is_int(left(&copy, 2, 0, 0), 0, "of an owner that is gone");
    is_int(left(&copy, 3, 0, 0), 1000, "of another one");
    is_int(left(&copy, 4, 9, 0), 0, "a tenant's is not");
    is_int(left(&copy, 5, 0, 0), 0, "of an owner that never was");

    res_rest_end(&copy, 5, 0);

    is_int(left(&copy, 1, 0, 0), 0, "owners have their new numbers");
    is_int(left(&copy, 3, 0, 0), 1000, "each its own");
}


int
main(void)
{
    test_one();
    test_end();
    test_full();
    test_copy();

    return done_testing();
}
