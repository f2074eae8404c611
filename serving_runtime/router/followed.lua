-- Files that others of the pod replace while nginx runs: what changes in one holds without a reload.
local followed = {}

-- Hand a file's text to `apply`, now and within `period` seconds of each change; while it is not there, nothing changes.
function followed.start(path, period, apply)
  local content
  local function look()
    local file = io.open(path)
    if not file then return end
    local text = file:read("*a")
    file:close()
    if text == content then return end
    content = text
    apply(text)
  end
  look()
  ngx.timer.every(period, function(premature)
    if not premature then look() end
  end)
end

return followed
