// A printer of the Test Anything Protocol for the C++ test programs, small enough to be trusted.
//
//   int main() {
//     tap::Report report;
//     report.ok(1 + 1 == 2, "addition works");
//     return report.finish();
//   }
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <exception>
#include <initializer_list>
#include <string>

namespace tap {

// Counts assertions and prints one line each. Not thread-safe: assert on the main thread.
class Report {
 public:
  Report() { std::printf("TAP version 14\n"); }

  // One assertion. Returns `condition`, so that a test can stop where going on makes no sense.
  bool ok(bool condition, const std::string& name) {
    ++num_run_;
    if (!condition) ++num_failed_;
    std::printf("%sok %d - %s\n", condition ? "" : "not ", num_run_, escape(name).c_str());
    return condition;
  }

  // Prints a comment below the assertion it explains.
  void note(const std::string& text) { std::printf("# %s\n", text.c_str()); }

  // Holds if got and want print the same.
  template <typename A, typename B>
  bool equal(const A& got, const B& want, const std::string& name) {
    const bool same = got == want;
    ok(same, name);
    if (!same) note("got " + text_of(got) + ", want " + text_of(want));
    return same;
  }

  // Holds if |got[i] - want[i]| <= tolerance + tolerance * |want[i]| everywhere (NaN never does).
  template <typename Got, typename Want>
  bool close(const Got* got, const Want* want, std::size_t count, double tolerance,
             const std::string& name) {
    std::size_t num_bad = 0;
    std::size_t worst = 0;
    double worst_excess = -1;
    for (std::size_t i = 0; i < count; ++i) {
      const double g = static_cast<double>(got[i]);
      const double w = static_cast<double>(want[i]);
      const double excess = std::fabs(g - w) / (tolerance + tolerance * std::fabs(w));
      if (g == w || excess <= 1) continue;
      ++num_bad;
      if (std::isnan(excess) || excess > worst_excess) {
        worst_excess = std::isnan(excess) ? HUGE_VAL : excess;
        worst = i;
      }
    }
    ok(num_bad == 0, name);
    if (num_bad > 0) {
      char line[200];
      std::snprintf(line, sizeof line, "%zu of %zu outside %g; worst at %zu: got %.9g, want %.9g",
                    num_bad, count, tolerance, worst, static_cast<double>(got[worst]),
                    static_cast<double>(want[worst]));
      note(line);
    }
    return num_bad == 0;
  }

  // Holds if both arrays have the same bytes.
  template <typename T>
  bool same_bits(const T* got, const T* want, std::size_t count, const std::string& name) {
    std::size_t first = 0;
    while (first < count && std::memcmp(got + first, want + first, sizeof(T)) == 0) ++first;
    ok(first == count, name);
    if (first < count) note("first difference at " + std::to_string(first));
    return first == count;
  }

  // Holds if body() throws an exception whose message contains every part.
  template <typename Body>
  bool throws(Body&& body, std::initializer_list<const char*> parts, const std::string& name) {
    try {
      body();
    } catch (const std::exception& error) {
      const bool all = std::all_of(parts.begin(), parts.end(), [&](const char* part) {
        return std::strstr(error.what(), part) != nullptr;
      });
      ok(all, name);
      if (!all) note(std::string("message was: ") + error.what());
      return all;
    }
    ok(false, name);
    note("nothing was thrown");
    return false;
  }

  // Counts a test that cannot run here, with the reason.
  void skip(const std::string& name, const std::string& reason) {
    std::printf("ok %d - %s # SKIP %s\n", ++num_run_, escape(name).c_str(), reason.c_str());
  }

  // Prints the plan; the value to return from main.
  int finish() {
    std::printf("1..%d\n", num_run_);
    return num_failed_ == 0 && num_run_ > 0 ? 0 : 1;
  }

 private:
  // A bare # would start a directive.
  static std::string escape(const std::string& name) {
    std::string out;
    for (const char c : name) {
      if (c == '#' || c == '\\') out += '\\';
      out += c;
    }
    return out;
  }

  static std::string text_of(const std::string& value) { return value; }
  static std::string text_of(const char* value) { return value; }
  static std::string text_of(double value) {
    char text[40];
    std::snprintf(text, sizeof text, "%.17g", value);
    return text;
  }

  int num_run_ = 0;
  int num_failed_ = 0;
};

}  // namespace tap
