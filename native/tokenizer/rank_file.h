// tiktoken's rank files, fast: a line for each token, its bytes in base64 and its rank.
//
// Reads what such files are, and says only "no" to all else: what is wrong with a file, the slower reader in Python
// tells with line and entry.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace tilth {

/// Bytes by rank, "" for a rank that is not there. Nothing if the file has a line of another form, an empty token, a
/// repeated rank, or one above `most_rank`.
std::optional<std::vector<std::string>> parse_rank_file(std::string_view content, std::size_t most_rank);

}  // namespace tilth
