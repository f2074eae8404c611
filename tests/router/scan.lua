-- Scans what stands on standard input: lines "<length of the body> <length of a piece>", each followed by the body.
-- Answers each with a line of JSON: what was found, or the sentence and the key that the body is refused with.
local ffi = require "ffi"
local cjson = require "cjson"
local scanning = require "body"
local WANTED = { model = true, user = true, stream = true, stream_options = true, ["outer.inner"] = true,
  messages = "turns" }

local function scan(text, size)
  local scanner = scanning.scanner(WANTED, { outer = true })
  local bytes = ffi.cast("const uint8_t *", text)
  for start = 0, #text - 1, size do
    local done, sentence, key = scanner:feed(bytes + start, math.min(size, #text - start))
    if not done then return { refused = sentence, key = key } end
  end
  local found, sentence = scanner:finish()
  return found and { found = found } or { refused = sentence }
end

while true do
  local length, size = io.read("*n", "*n")
  if not length then return end
  io.read(1)
  local text = length > 0 and io.read(length) or ""
  local told = scan(text, size)
  for _, value in pairs(told.found or {}) do value.text = value.text and #value.text end
  print(cjson.encode(told))
  io.flush()
end
