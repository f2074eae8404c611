-- A request's body: what its top-level keys are, and what is written into it. nginx keeps a small body in memory and
-- a large one in a file; that is read in pieces, and others have their turn in between, so neither memory nor the other
-- requests' time depends on how large it is.
local ffi = require "ffi"
local scanning = require "body"

local request = {}
ffi.cdef "size_t fread(void *to, size_t size, size_t count, void *from);"
local PIECE, PIECES_AT_ONCE = 65536, 4
local PAUSE = 0.001 -- seconds; of 0, Debian's nginx complains
local WITH_USAGE, UNSAID = '{"include_usage":true}', { ["null"] = true, ["false"] = true }
local piece = ffi.new("uint8_t[?]", PIECE)

-- Hand `take` the bytes of a file from `first` to `last`; what it returns other than true ends the reading.
local function read(file, first, last, take)
  file:seek("set", first)
  local position, pieces = first, 0
  while position < last do
    local length = tonumber(ffi.C.fread(piece, 1, math.min(PIECE, last - position), file))
    if length == 0 then break end
    local done, sentence, key = take(piece, length)
    if done ~= true then return done, sentence, key end
    position, pieces = position + length, pieces + 1
    if pieces % PIECES_AT_ONCE == 0 then ngx.sleep(PAUSE) end -- `piece` is others' meanwhile
  end
  return true
end

-- A function that makes another is never compiled: for bodies in a file, that is made here.
local function feed_file(scanner, path)
  local file = assert(io.open(path, "rb"))
  local done, sentence, key = read(file, 0, math.huge, function(bytes, length) return scanner:feed(bytes, length) end)
  file:close()
  return done, sentence, key
end

-- What a scanner finds in the body, by key; or nil, a sentence, and the key that it is about.
function request.keys(wanted, opened)
  local scanner = scanning.scanner(wanted, opened)
  local text = ngx.req.get_body_data()
  local path = not text and ngx.req.get_body_file()
  local done, sentence, key = true, nil, nil
  if text then
    done, sentence, key = scanner:feed(ffi.cast("const uint8_t *", text), #text)
  elseif path then
    done, sentence, key = feed_file(scanner, path)
  end
  if not done then return nil, sentence, key end
  return scanner:finish()
end

-- What must be written into the body so that a stream's end counts its tokens; nil where the client asked for that, or
-- in a way that the engine will refuse. Without that, an engine ignores the wish for a count in every chunk: it stays.
function request.for_usage(found)
  local options, included = found.stream_options, found["stream_options.include_usage"]
  if not found.stream or found.stream.text ~= "true" then return nil end
  if not options then
    return { { first = found.stream.last, last = found.stream.last, text = ',"stream_options":' .. WITH_USAGE } }
  end
  if not options.is_opened then
    return options.text == "null" and { { first = options.first, last = options.last, text = WITH_USAGE } } or nil
  end
  local every, edits = found["stream_options.continuous_usage_stats"], {}
  if included then
    if not UNSAID[included.text] then return nil end
    edits[1] = { first = included.first, last = included.last, text = "true" }
  else
    local text = '"include_usage":true' .. (options.has_keys and "," or "")
    edits[1] = { first = options.first + 1, last = options.first + 1, text = text }
  end
  if every then edits[2] = { first = every.first, last = every.last, text = "false" } end
  return edits
end

local function append(bytes, length)
  ngx.req.append_body(ffi.string(bytes, length))
  return true
end

local function edit_file(path, edits)
  local file, position = assert(io.open(path, "rb")), 0
  ngx.req.init_body() -- from here on, nginx's own file has no name
  for _, edit in ipairs(edits) do
    read(file, position, edit.first, append)
    ngx.req.append_body(edit.text)
    position = edit.last
  end
  read(file, position, math.huge, append)
  ngx.req.finish_body()
  file:close()
end

local function is_before(one, other)
  return one.first < other.first
end

-- Put other text where values stand. The body is changed there and nowhere else.
function request.edit(edits)
  table.sort(edits, is_before)
  local whole, position = ngx.req.get_body_data(), 0
  if not whole then return edit_file(ngx.req.get_body_file(), edits) end
  local pieces = {}
  for _, edit in ipairs(edits) do
    pieces[#pieces + 1], pieces[#pieces + 2] = whole:sub(position + 1, edit.first), edit.text
    position = edit.last
  end
  ngx.req.set_body_data(table.concat(pieces) .. whole:sub(position + 1))
end

return request
