
/*
 * A dialect: what a provider's answers mean, where its credential goes, and
 * how an error is said to a client that speaks it.  A table of functions; the
 * call names no dialect.
 */


#ifndef LLM_DIALECT_H_INCLUDED
#define LLM_DIALECT_H_INCLUDED


#include "llm.h"
#include "sse.h"
#include "../engine/outcome.h"


/* An answer that is no stream, or no longer one: what is known of it. */

typedef struct {
    unsigned              status;
    llm_str_t             type;      /* Content-Type, may be empty */
    llm_str_t             body;      /* as much as is held */
    unsigned              whole:1;   /* the body is all there */
    unsigned              own_key:1; /* called with the provider's own key */
    unsigned              retry_after:1;  /* the answer names a wait */
    unsigned              grpc;      /* status code of a gRPC answer, 0: OK, or
                                        it is none, or not known yet */
} llm_answer_t;


typedef enum {
    LLM_EVENT_NOISE = 0,             /* says nothing yet: ping, preamble */
    LLM_EVENT_CONTENT,               /* commits */
    LLM_EVENT_END,                   /* the terminal mark */
    LLM_EVENT_ERROR                  /* an error inside the stream */
} llm_event_e;


typedef struct {
    llm_str_t             name;
    const char           *url;       /* default endpoint, NULL: none */

    const char           *key_header;   /* lower case, NULL: no key */
    const char           *key_prefix;   /* before the credential, e.g.
                                           "Bearer " */

    /*
     * The class of an answer: of an error status, or of a complete 2xx body
     * that is no event stream.  Only called with a status >= 200.
     */
    res_outcome_e       (*classify)(const llm_answer_t *a);

    /*
     * What an event means; on LLM_EVENT_ERROR *outcome is its class.  NULL:
     * the dialect knows no streams, and every answer commits at its header.
     */
    llm_event_e         (*event)(const llm_event_t *e,
                                 res_outcome_e *outcome);

    /*
     * An error made by us, as a whole JSON body: code is our stable name of
     * what happened (an outcome), message is plain text.  With buf == NULL
     * returns the length only.  NULL: the dialect has no such body.
     */
    size_t              (*error_body)(unsigned char *buf, unsigned status,
                                      const char *code, const char *message);

    /*
     * The same as the event that ends a broken stream, from the start of a
     * line to the blank line.  status is the one the error would have had.
     */
    size_t              (*error_event)(unsigned char *buf, unsigned status,
                                       const char *code, const char *message);
} llm_dialect_t;


extern const llm_dialect_t  llm_dialect_none;
extern const llm_dialect_t  llm_dialect_openai;
extern const llm_dialect_t  llm_dialect_anthropic;

/* The dialect of that name, or NULL. */
const llm_dialect_t *llm_dialect_find(const char *name, size_t len);

/* The n-th dialect, NULL behind the last; for messages that list them. */
const llm_dialect_t *llm_dialect_get(unsigned n);


#endif /* LLM_DIALECT_H_INCLUDED */
