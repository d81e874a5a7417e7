/**
 * @file device_api.h
 * What a device gives to run the kernels: memory, copies, launches, transforms. Plain C17 and C++17: the
 * plug-in for CUDA is built by another compiler and knows nothing else of the program. The operations of
 * backend.h on top of it are in device/.
 *
 * Calls of one device are serial; memory is the device's, its address means nothing to the host. What is
 * asked for is done in the order of the calls, but not at once: a call returns when it is queued, and an
 * error may show at a later one. received() and finish() wait. Functions that can fail return a
 * cyc_device_result, what() gives the reason.
 */
#ifndef CYC_DEVICE_API_H
#define CYC_DEVICE_API_H

#include "backends/kernels/kernels.h"

#include <stddef.h>

/** Changed with anything in this file. */
enum { CYC_DEVICE_ABI = 3 };

typedef enum {
	CYC_DEVICE_OK,
	CYC_DEVICE_USAGE,          /**< the options of a device make no sense */
	CYC_DEVICE_UNUSABLE,       /**< none that can be used: no driver, too old a one, no card ... */
	CYC_DEVICE_NO_MEMORY,      /**< of the device */
	CYC_DEVICE_NO_HOST_MEMORY, /**< of the host */
	CYC_DEVICE_FAILED,
} cyc_device_result;

/** The kernels, by number. */
#define CYC_KERNEL_ID(name, lanes) CYC_KERNEL_##name,
typedef enum { CYC_KERNEL_LIST(CYC_KERNEL_ID) CYC_N_KERNELS } cyc_kernel_id;

/** Unscaled transforms of n planes: s x s real, s x (s/2 + 1) complex; distances in values of their kind. */
typedef struct {
	float *real;
	cyc_pair *ft;
	int64_t real_distance, ft_distance;
	int32_t s, n;
	int32_t n_columns;  /**< of the forward transform only these are needed */
	int32_t is_forward; /**< real to ft; else back. Either may destroy what it is made from */
} cyc_fft2_call;
/** A map of s^3 and its transform; the inverse is divided by s^3 and destroys ft, the forward one keeps real.
 */
typedef struct {
	float *real;
	cyc_pair *ft;
	int32_t s, is_forward;
} cyc_fft3_call;

typedef struct {
	int32_t abi;                         /**< CYC_DEVICE_ABI */
	const char *version;                 /**< of the program that it was built with, and: */
	int32_t kernel_bytes[CYC_N_KERNELS]; /**< size of the arguments of each kernel */
	size_t piece_bytes;                  /**< largest piece of a copy */
	/**
	 * @param[in]  options  after the colon of the backend's name, or ""; "next:K": of the machine's devices
	 * number K, counted on from the first after the last
	 * @param[out] why      of a failure, one line
	 */
	cyc_device_result (*open)(void **device, const char *options, int32_t n_threads, char *why, size_t n_why);
	void (*close)(void *device);
	/** A line about the device, for the log. */
	const char *(*name)(void *device);
	/** Why the last call failed. */
	const char *(*what)(void *device);
	/** Bytes that can be had now. NULL: as many as the host has. */
	cyc_device_result (*room)(void *device, size_t *bytes);
	/** @param[in] is_scratch  for the operations' own use; else it may be an argument */
	cyc_device_result (*alloc)(void *device, void **address, size_t bytes, int32_t is_scratch);
	void (*free)(void *device, void *address, size_t bytes);
	cyc_device_result (*fill)(void *device, void *address, int32_t byte, size_t bytes);
	/**
	 * A copy to the device has two steps: the host fills memory that the device can read by itself, then
	 * sends it.
	 * @param[out] host   bytes to be filled, until send() or another stage()
	 * @param[in]  bytes  <= piece_bytes
	 */
	cyc_device_result (*stage)(void *device, void **host, size_t bytes);
	/** What the last stage() gave, filled. */
	cyc_device_result (*send)(void *device, void *address, size_t bytes);
	/** A copy from the device, as send(); at most two are under way. @param[in] bytes  <= piece_bytes */
	cyc_device_result (*receive)(void *device, const void *address, size_t bytes);
	/** Waits for the oldest one under way. @param[out] host  where it is, until the next receive() */
	cyc_device_result (*received)(void *device, void **host);
	/** Waits for all that was asked for. */
	cyc_device_result (*finish)(void *device);
	cyc_device_result (*launch)(void *device, cyc_kernel_id kernel, const void *args, int64_t n_blocks);
	cyc_device_result (*fft2)(void *device, const cyc_fft2_call *call);
	cyc_device_result (*fft3)(void *device, const cyc_fft3_call *call);
	/** Arguments of an operation, before and after it; may be NULL. */
	void (*enter)(void *device, void *address, size_t bytes);
	void (*leave)(void *device, void *address, size_t bytes);
} cyc_device_api;

/** The entry point of a plug-in: NULL if it was built for another interface. */
typedef const cyc_device_api *(*cyc_device_plugin)(int32_t abi);
#define CYC_DEVICE_PLUGIN "cyc_device_plugin_3"

#endif
