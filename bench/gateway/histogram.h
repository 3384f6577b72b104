/* A histogram of nanoseconds with 128 steps in each power of two: below 1 % off at any size.
 * The idea is HdrHistogram's (Tene, hdrhistogram.org). */
#ifndef HISTOGRAM_H
#define HISTOGRAM_H

#include <stdint.h>
#include <stdio.h>

#define STEPS_LOG2 7
#define STEPS (1 << STEPS_LOG2)
#define SLOTS ((64 - STEPS_LOG2) * STEPS)

typedef struct {
    uint64_t count, sum, max, slots[SLOTS];
} Histogram;

static int slot_of(uint64_t value) {
    if (value < STEPS) return (int)value;
    int shift = 63 - __builtin_clzll(value) - STEPS_LOG2;
    return (shift + 1) * STEPS + (int)((value >> shift) - STEPS);
}

/* The middle of a slot. */
static double value_of(int slot) {
    if (slot < STEPS) return slot;
    int shift = slot / STEPS - 1;
    double low = (double)((uint64_t)(STEPS + slot % STEPS) << shift);
    return low + (double)(1ULL << shift) / 2;
}

static void record(Histogram *h, int64_t value) {
    uint64_t positive = value > 0 ? (uint64_t)value : 0;
    h->count++;
    h->sum += positive;
    if (positive > h->max) h->max = positive;
    h->slots[slot_of(positive)]++;
}

/* The nearest-rank quantile. */
static double quantile(const Histogram *h, double part) {
    if (!h->count) return 0;
    double exact = part * (double)h->count;
    uint64_t rank = (uint64_t)exact, seen = 0;
    if ((double)rank < exact || !rank) rank++;
    for (int slot = 0; slot < SLOTS; slot++) {
        seen += h->slots[slot];
        if (seen >= rank) return value_of(slot);
    }
    return (double)h->max;
}

static void show(const Histogram *h, const char *name) {
    printf("\"%s_count\":%lu,\"%s_mean_us\":%.3f,\"%s_p50_us\":%.3f,\"%s_p90_us\":%.3f,"
           "\"%s_p99_us\":%.3f,\"%s_p999_us\":%.3f,\"%s_max_us\":%.3f",
           name, h->count, name, h->count ? (double)h->sum / (double)h->count / 1e3 : 0, name,
           quantile(h, 0.5) / 1e3, name, quantile(h, 0.9) / 1e3, name, quantile(h, 0.99) / 1e3,
           name, quantile(h, 0.999) / 1e3, name, (double)h->max / 1e3);
}

#endif
