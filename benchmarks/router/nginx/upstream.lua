-- A model's server, played.
local upstream = {}
local CHUNKS, PERIOD = 64, 0.005
local LONGEST_LOOKED_AT = 65536 -- the 8 MB bodies ask for no stream
local HEAD = '{"id":"chatcmpl-0123456789abcdef0123456789abcdef","object":"chat.completion%s","created":1790000000,'
  .. '"model":"bench","choices":[{"index":0,%s,"logprobs":null,"finish_reason":%s}]%s}'
local USAGE = '"usage":{"prompt_tokens":48,"total_tokens":112,"completion_tokens":64}'
local TEXT = ("what a model says, word by word, "):rep(10)
local ANSWER = HEAD:format("", '"message":{"role":"assistant","content":"' .. TEXT .. '"}', '"stop"', "," .. USAGE)
local CHUNK = "data: " .. HEAD:format(".chunk", '"delta":{"content":" word"}', "null", "") .. "\n\n"
local LAST = "data: " .. HEAD:format(".chunk", '"delta":{}', '"stop"', "") .. "\n\n"
local COUNTED = 'data: {"id":"chatcmpl-0123456789abcdef0123456789abcdef","object":"chat.completion.chunk",'
  .. '"created":1790000000,"model":"bench","choices":[],' .. USAGE .. "}\n\n"

local function stream(is_counted)
  ngx.header["Content-Type"] = "text/event-stream; charset=utf-8"
  for number = 1, CHUNKS do
    ngx.sleep(PERIOD)
    ngx.print(number < CHUNKS and CHUNK or LAST)
    if not ngx.flush(true) then return end -- who asked has left
  end
  ngx.print(is_counted and COUNTED or "", "data: [DONE]\n\n")
end

function upstream.answer()
  ngx.req.read_body()
  local body = ngx.req.get_body_data()
  if body and #body < LONGEST_LOOKED_AT and body:find('"stream"%s*:%s*true') then
    return stream(body:find('"include_usage"%s*:%s*true'))
  end
  ngx.header["Content-Length"] = #ANSWER
  ngx.print(ANSWER)
end

-- A watch in which nothing happens.
function upstream.watch()
  ngx.send_headers()
  ngx.flush(true)
  ngx.sleep(86400)
end

return upstream
