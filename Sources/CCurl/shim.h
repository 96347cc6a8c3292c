#pragma once
#include <curl/curl.h>

// libcurl sets and reads its options through variadic functions, which Swift can't call: one of ours for each type.

typedef size_t (*firn_curl_callback)(char *bytes, size_t size, size_t count, void *context);
typedef int (*firn_curl_seek)(void *context, curl_off_t offset, int origin);

static inline CURLcode firn_curl_set_long(CURL *handle, CURLoption option, long value) { return curl_easy_setopt(handle, option, value); }
static inline CURLcode firn_curl_set_offset(CURL *handle, CURLoption option, curl_off_t value) { return curl_easy_setopt(handle, option, value); }
static inline CURLcode firn_curl_set_text(CURL *handle, CURLoption option, const char *value) { return curl_easy_setopt(handle, option, value); }
static inline CURLcode firn_curl_set_list(CURL *handle, CURLoption option, struct curl_slist *value) { return curl_easy_setopt(handle, option, value); }
static inline CURLcode firn_curl_set_pointer(CURL *handle, CURLoption option, void *value) { return curl_easy_setopt(handle, option, value); }
static inline CURLcode firn_curl_set_callback(CURL *handle, CURLoption option, firn_curl_callback value) { return curl_easy_setopt(handle, option, value); }
static inline CURLcode firn_curl_set_seek(CURL *handle, firn_curl_seek value) { return curl_easy_setopt(handle, CURLOPT_SEEKFUNCTION, value); }
static inline CURLcode firn_curl_get_long(CURL *handle, CURLINFO info, long *value) { return curl_easy_getinfo(handle, info, value); }
static inline CURLcode firn_curl_get_offset(CURL *handle, CURLINFO info, curl_off_t *value) { return curl_easy_getinfo(handle, info, value); }
static inline CURLcode firn_curl_get_pointer(CURL *handle, void **value) { return curl_easy_getinfo(handle, CURLINFO_PRIVATE, value); }
static inline CURLMcode firn_curl_multi_set_long(CURLM *multi, CURLMoption option, long value) { return curl_multi_setopt(multi, option, value); }

// A macro that Swift can't read.
static const long firn_curl_ssh_agent = CURLSSH_AUTH_AGENT;
static const long firn_curl_ssh_key = CURLSSH_AUTH_PUBLICKEY;

// What ended, if anything did.
static inline CURL *firn_curl_next_ended(CURLM *multi, CURLcode *result) {
  int left;
  CURLMsg *message;
  while ((message = curl_multi_info_read(multi, &left))) {
    if (message->msg == CURLMSG_DONE) {
      *result = message->data.result;
      return message->easy_handle;
    }
  }
  return 0;
}
