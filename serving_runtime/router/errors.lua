-- Every error as OpenAI's clients read it: those that the router tells, and, in place of their pages, those of nginx
-- and of whatever answers in plain text.
local cjson = require "cjson.safe"

local errors = {}
local SENTENCES = {
  [400] = "the request is no HTTP that can be read, or has headers of more than 8 kB",
  [411] = "send the header `Content-Length`, or a chunked body",
  [413] = "the body is larger than 8 MiB; send less",
  [414] = "the address is too long",
  [500] = "the request could not be handled; try again",
  [501] = "send `Content-Length`, or `Transfer-Encoding: chunked` alone",
  [502] = "the model's server does not answer; try again",
  [503] = "the model's server takes no requests now; try again",
  [504] = "the model's server did not answer in time; try again with a smaller request, or as a stream",
}
local TOO_MANY_LARGE = "too many large bodies are on their way; try again, or send less than 16 kB"
local NOT_LET_IN = "the backend of this version does not take the router's key; `kubectl get modelversions` shows more"
local LEADS_AWAY = "the backend of this version leads elsewhere, where nobody is sent"
local RETRY_AFTER = { [429] = 1, [502] = 1, [503] = 1 } -- seconds

local function encoded(status, message, param)
  local kind = status < 500 and "invalid_request_error" or "server_error"
  local told = { message = message, type = kind, param = param or cjson.null, code = status }
  return cjson.encode({ error = told }) .. "\n"
end

-- What a path names may be no UTF-8, and JSON is nothing else.
local function readable(message)
  local _, _, problem = ngx.re.find(message, "^", "u")
  return problem and message:gsub("[\128-\255]", "?") or message
end

-- Answer with an error, and end the request; `param` is the field that it is about.
function errors.refuse(status, message, param)
  ngx.status = status
  ngx.header["Content-Type"] = "application/json"
  ngx.print(encoded(status, readable(message), param))
  return ngx.exit(ngx.HTTP_OK)
end

-- In the header filter: an error that is no JSON gets a body that is.
function errors.head()
  local status, target = ngx.status, ngx.ctx.target
  local is_backend = target and type(target.backend) == "table"
  local leads_away = is_backend and status >= 300 and status < 400
  if status < 400 and not leads_away then return end
  -- An engine demands another key than this router's, as while one of them is replaced, or a backend does not take its
  -- own, of which its words may tell some: nothing that a client can mend.
  local is_not_let_in = target and (status == 401 or is_backend and status == 403)
  local sentence = leads_away and LEADS_AWAY or is_not_let_in and is_backend and NOT_LET_IN
  local is_ours = is_not_let_in or leads_away
  if is_ours then
    status, ngx.status, ngx.header["WWW-Authenticate"], ngx.header["Location"] = 502, 502, nil, nil
  end
  if RETRY_AFTER[status] and not ngx.header["Retry-After"] then ngx.header["Retry-After"] = RETRY_AFTER[status] end
  local kind = ngx.header["Content-Type"]
  if not is_ours and type(kind) == "string" and kind:find("application/json", 1, true) == 1 then return end
  local is_beyond = ngx.var.limit_conn_status == "REJECTED"
  sentence = sentence or is_beyond and TOO_MANY_LARGE or SENTENCES[status]
  sentence = sentence or "the request was refused with status " .. status
  ngx.ctx.error_body = encoded(status, sentence)
  ngx.header["Content-Type"] = "application/json"
  ngx.header["Content-Encoding"] = nil
  ngx.header["Content-Length"] = #ngx.ctx.error_body
end

-- In the body filter, the other half of it.
function errors.body()
  local text = ngx.ctx.error_body
  if not text then return end
  ngx.arg[1] = text
  ngx.ctx.error_body = ""
end

return errors
