
/*
 * Copyright (C) the ngx_http_resilience_module authors
 */


/*
 * The protocol of permits and generations, as src/engine/breaker.c speaks it
 * under the zone's lock, with workers that may be killed between any two
 * writes of it.  README.md says what is modelled and what is not.
 *
 * What is defined as NO_..., and a few others, leave something out or do it
 * in the wrong order: "run" checks that each of them is found out.
 */


#ifndef WORKERS
#define WORKERS    2                /* 2 or 3 */
#endif

#ifndef ATTEMPTS
#define ATTEMPTS   2                /* of a worker, over all of its lives */
#endif

#ifndef KILLS
#define KILLS      1
#endif

#ifndef ACTS
#define ACTS       1                /* of an administrator */
#endif

#ifndef FAILURES
#define FAILURES   2                /* in a row that open it */
#endif

#ifndef PROBES
#define PROBES     1                /* permits at a time, 1 or 2 */
#endif

#ifndef SUCCESSES
#define SUCCESSES  2                /* good probes that close it */
#endif


#define CLOSED     0
#define OPEN       1
#define HALF_OPEN  2

#define SUCCESS    0
#define FAILURE    1
#define NEUTRAL    2

#define NO_SLOT    255
#define NO_ERA     255
#define FOREVER    255


/* the breaker */

byte  state;
byte  generation;
byte  consecutive;
byte  succeeded;
bool  forced;                       /* open */
byte  leases[PROBES];               /* 0: free */

/* the time: what is over */

bool  over;                         /* the open time */
bool  expired[PROBES];              /* the lease */

/* the lock, and what the next one to hold it looks at */

byte  lock;                         /* its holder + 1 */
bool  busy;

/* the attempts in flight */

byte  inflight;
bool  flight[WORKERS];

byte  kills;
byte  acts;
byte  stamp;                        /* the last lease: later ones are larger */


/*
 * The proof, which nothing but assertions look at.  An era is what a
 * generation stands for: the time between two changes of state.
 */

byte  era;
byte  row;                          /* failures recorded, without a success */
bool  running[WORKERS];             /* an attempt runs */
byte  probe[WORKERS];               /* the lease of its valid permit */
bool  unswept[WORKERS];             /* it died, and no one looked yet */


#if WORKERS == 2

#define of_all(array)  (array[0] + array[1])
#define probes_out     ((probe[0] != 0) + (probe[1] != 0))
#define all_swept      (!unswept[0] && !unswept[1])
#define no_probes      probe[0] = 0; probe[1] = 0

#else

#define of_all(array)  (array[0] + array[1] + array[2])
#define probes_out     ((probe[0] != 0) + (probe[1] != 0) + (probe[2] != 0))
#define all_swept      (!unswept[0] && !unswept[1] && !unswept[2])
#define no_probes      probe[0] = 0; probe[1] = 0; probe[2] = 0

#endif


#define lent(n)        (leases[n] != 0 && !expired[n])

#ifdef NO_SLOTS
#define may_lend(n)    true
#else
#define may_lend(n)    (!lent(n))
#endif

#if PROBES == 1
#define none_free      lent(0)
#else
#define none_free      (lent(0) && lent(1))
#endif


#ifdef NO_GENERATION
#define is_current     true
#else
#define is_current     (permit == generation)
#endif

#ifdef NO_STAMP
#define is_lease       (leases[slot] != 0)
#else
#define is_lease       (leases[slot] == lease)
#endif

/* a process whose clock is behind takes a lease that ended for a good one */

#define is_held        (slot != NO_SLOT && is_lease                           \
                        && (!expired[slot] || behind))

#ifdef ONE_TOO_LATE
#define OPENS_AT       (FAILURES + 1)
#else
#define OPENS_AT       FAILURES
#endif


/*
 * A section is what is done with the lock held.  Nothing disturbs it, so that
 * all of it is one step; the writes to shared memory that come before the
 * death of its process, if that is to come, are done, the others are not.
 */

#ifdef NO_LOCK
#define may_lock       true
#define together
#define section
#else
#define may_lock       (lock == 0)
#define together       atomic
#define section        d_step
#endif

#define alive          (life != 0)
#define w(what)        if                                                     \
                       :: alive -> what; life = life - (life != FOREVER)      \
                       :: else                                                \
                       fi


/* a worker that takes the place of a dead one looks for what that one left */

#ifdef NO_SWEEP
#define may_begin      true
#else
#define may_begin      (!unswept[me])
#endif


/* what must be so whenever no one holds the lock, and is looked at then */

inline check()
{
    if
    :: alive ->

        /* never more valid permits than probes */

        assert(probes_out <= PROBES);

        /* no lost open */

        assert(state != CLOSED || row < FAILURES);

        /* the count of attempts is the true one, with no dead to look for */

        assert(!all_swept || inflight == of_all(running))

    :: else
    fi
}


/* after how many writes the process dies */

inline choose_life()
{
    if
    :: life = FOREVER
    :: kills < KILLS -> life = 0
    :: kills < KILLS -> life = 1
    :: kills < KILLS -> life = 2
    :: kills < KILLS -> life = 3
    :: kills < KILLS -> life = 4
    :: kills < KILLS -> life = 5
    :: kills < KILLS -> life = 6
    :: kills < KILLS -> life = 7
    :: kills < KILLS -> life = 8
    :: kills < KILLS -> life = 9
    :: kills < KILLS -> life = 10
    :: kills < KILLS -> life = 11
    :: kills < KILLS -> life = 12
    :: kills < KILLS -> life = 13
    fi
}


/* of a process that does not know yet that a lease is over */

inline choose_clock()
{
    if
    :: slot != NO_SLOT && expired[slot] -> behind = true
    :: true
    fi
}


/* res_table_enter() and the recount: what a dead holder left is repaired */

inline enter()
{
#ifndef NO_LOCK
    w(lock = me + 1);
#endif

#ifndef NO_REPAIR
    if
    :: busy ->
        w(inflight = 0);
        w(inflight = of_all(flight))
    :: else
    fi;
#endif

    w(busy = true)
}


inline leave()
{
    w(busy = false);
    w(lock = 0)
}


/* res_breaker_enter() */

inline new_state(to)
{
#ifdef STATE_FIRST
    w(state = to; era++; row = 0; no_probes);
    w(generation++)
#else
#ifndef NO_NEW_GENERATION
    w(generation++);
#endif
    w(state = to; era++; row = 0; no_probes)
#endif
}


/* res_breaker_open() */

inline open()
{
    w(over = false);
    new_state(OPEN)
}


/* res_breaker_half_open() */

inline half_open()
{
    w(succeeded = 0);
    w(leases[0] = 0; expired[0] = false);
#if PROBES == 2
    w(leases[1] = 0; expired[1] = false);
#endif
    new_state(HALF_OPEN)
}


/* res_breaker_close() */

inline close()
{
    w(consecutive = 0; row = 0);
    new_state(CLOSED)
}


/* res_breaker_lend(): the first slot that is free, or whose lease is over */

inline lend()
{
    if
    :: may_lend(0) ->
        slot = 0;
        lease = stamp + 1;
        w(stamp++; leases[0] = stamp; expired[0] = false)

#if PROBES == 2
    :: !may_lend(0) && may_lend(1) ->
        slot = 1;
        lease = stamp + 1;
        w(stamp++; leases[1] = stamp; expired[1] = false)
#endif

    :: else
    fi;

    held = (slot != NO_SLOT)
}


/* res_breaker_admit(), and if it is admitted the attempt is in flight */

inline admit()
{
    enter();

    if
    :: forced
    :: else ->

        if
        :: state == OPEN && over -> half_open()
        :: else
        fi;

        if
        :: state == CLOSED -> held = true
        :: state == HALF_OPEN -> lend()
        :: else
        fi
    fi;

    if
    :: held ->
        permit = generation;
        permit_era = era;

        w(flight[me] = true);
        w(inflight++)
    :: else
    fi;

    leave();

    running[me] = held;
    probe[me] = lease;
    check()
}


/* res_breaker_record(); counted: a failure that may open it */

inline judge(outcome)
{
    if
    :: is_current && state == HALF_OPEN && is_held ->

        assert(permit_era == era);
        accepted = true;

        w(leases[slot] = 0; expired[slot] = false);

        if
        :: outcome == SUCCESS ->
            w(succeeded++);

            if
            :: succeeded >= SUCCESSES -> close()
            :: else
            fi

        :: outcome == FAILURE -> open()
        :: else
        fi

    :: is_current && state == CLOSED ->

        assert(permit_era == era);
        accepted = true;

        if
        :: outcome == SUCCESS && !judged ->
            w(consecutive = 0; row = 0)

        :: outcome == FAILURE ->
            w(consecutive++);
            counted = true;

            if
            :: consecutive >= OPENS_AT -> open()
            :: else
            fi

        :: else
        fi

    :: else
    fi
}


/*
 * A probe that is good before it has ended: its success is recorded, and what
 * becomes of it is of the generation that is current then.
 */

inline commit()
{
    enter();
    judge(SUCCESS);
    leave();

    if
    :: accepted ->
        permit = generation - (state != CLOSED);
        permit_era = (state == CLOSED -> era : NO_ERA)
    :: else ->
#ifdef RESTAMP_ALWAYS
        permit = generation - (state != CLOSED)
#else
        skip
#endif
    fi;

    judged = true;
    accepted = false;
    slot = NO_SLOT;
    lease = 0;
    probe[me] = 0;
    check()
}


/* the attempt has ended, and its outcome is recorded */

inline record()
{
    enter();

    w(inflight--);
    w(flight[me] = false);

    judge(outcome);
    leave();

    running[me] = false;
    probe[me] = 0;

    row = row + (counted && alive && state == CLOSED);

    check();
    forget()
}


/* what a process that is gone had in flight is over */

inline sweep()
{
    enter();

    if
    :: flight[me] ->
        w(inflight--);
        w(flight[me] = false)
    :: else
    fi;

    leave();

    unswept[me] = false;
    check()
}


/* res_breaker_reset() and res_breaker_force() */

inline say()
{
    enter();
    close();
    w(forced = outcome);
    leave();
    check()
}


inline forget()
{
    held = false;
    judged = false;
    slot = NO_SLOT;
    lease = 0;
    permit = 0;
    permit_era = 0;
    accepted = false;
    counted = false;
    behind = false;
    outcome = SUCCESS
}


/*
 * If it has died, nothing is left of it but what is in shared memory.  The
 * master frees its lock, if it held it, and starts another one.
 */

inline fate()
{
    if
    :: !alive ->
        kills++;
        unswept[me] = true;
        running[me] = false;
        probe[me] = 0;

#ifndef NO_UNLOCK
        if
        :: lock == me + 1 -> lock = 0
        :: else
        fi;
#endif

        forget()
    :: else
    fi;

    behind = false;
    life = FOREVER
}


inline go_on()
{
    if
    :: held -> goto runs
    :: !held -> goto idle
    fi
}


proctype worker(byte me)
{
    /* the ticket */

    bool  held, judged;
    byte  slot = NO_SLOT, lease, permit, permit_era;

    byte  attempts, life = FOREVER, outcome;
    bool  accepted, counted, behind;

idle:

    if
    :: together {
           may_lock && !may_begin ->

           choose_life();
           section { sweep(); fate() };
           go_on()
       }

    :: together {
           may_lock && may_begin && attempts < ATTEMPTS ->

           attempts++;
           choose_life();
           section { admit(); fate() };
           go_on()
       }

    :: together {
           may_lock && may_begin && acts < ACTS ->

           acts++;

           if
           :: outcome = false
           :: outcome = true
           fi;

           choose_life();
           section { say(); fate() };
           go_on()
       }

    :: may_begin && attempts == ATTEMPTS -> goto done
    fi;

runs:

    if
    :: together {
           may_lock && slot != NO_SLOT ->

           choose_clock();
           choose_life();
           section { commit(); fate() };
           go_on()
       }

    :: together {
           may_lock ->

           if
           :: outcome = SUCCESS
           :: outcome = FAILURE
           :: outcome = NEUTRAL
           fi;

           choose_clock();
           choose_life();
           section { record(); fate() };
           go_on()
       }

    :: goto end_hangs
    fi;

    /* nothing is ever heard of the attempt */

end_hangs:

    false;

done:

    skip
}


inline expire(n)
{
    d_step {
        lock == 0 && state == HALF_OPEN && lent(n) ->

        expired[n] = true;

        if
        :: probe[0] == leases[n] -> probe[0] = 0
        :: probe[1] == leases[n] -> probe[1] = 0
#if WORKERS == 3
        :: probe[2] == leases[n] -> probe[2] = 0
#endif
        :: else
        fi
    }
}


/* time passes; a process looks at it when it takes the lock */

proctype clock()
{
end:

    do
    :: d_step { lock == 0 && state == OPEN && !over -> over = true }

#ifndef NO_LEASE
    :: expire(0)
#if PROBES == 2
    :: expire(1)
#endif
#endif
    od
}


#ifdef TICKS

/*
 * For what must be so at some time: there always is a next step.  Without it
 * a state in which no process can go on is an error, but for its end.
 */

proctype ticks()
{
    do
    :: state <= HALF_OPEN
    od
}

#endif


/* it begins closed, open, or half-open */

init
{
    atomic {
        if
        :: state = CLOSED
        :: state = OPEN; generation = 1; era = 1; consecutive = FAILURES
        :: state = HALF_OPEN; generation = 2; era = 2
        fi;

        run worker(0);
        run worker(1);
#if WORKERS == 3
        run worker(2);
#endif
#ifdef TICKS
        run ticks();
#endif
        run clock()
    }
}


/* in half-open a permit is free again, at some time */

ltl no_leak {
    [] ((state == HALF_OPEN && none_free)
        -> <> (state != HALF_OPEN || !none_free))
}


/* the count of attempts is the true one, from some time on */

ltl true_count {
    <> [] (inflight == of_all(running))
}


/* the lock is free, again and again */

ltl lock_is_free {
    [] <> (lock == 0)
}
