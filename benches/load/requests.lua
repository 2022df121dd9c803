-- The requests of one workload, random but the same for the same seed. Arguments after `--`: the workload, the seed,
-- the URL with {genre}, {from}, {to} or {id}, the token, a file with the genres, and a file with the ids.

local DISTINCT = { search = 4000, id = 8000, week = 3000, first = 1 }
local requests, following = {}, 0

local function lines(path)
  local list = {}
  for line in io.lines(path) do list[#list + 1] = line end
  return list
end

local function any(list) return list[math.random(#list)] end
local function date(year, month, day) return string.format("%04d-%02d-%02d", year, month, day) end

-- The bounds of a range of three months to a year, and of seven days.
local function months()
  local year, month, day = math.random(2020, 2029), math.random(1, 12), math.random(1, 28)
  local last = month + math.random(3, 12)
  return date(year, month, day), date(year + math.floor((last - 1) / 12), (last - 1) % 12 + 1, day)
end
local function week()
  local year, month, day = math.random(2020, 2029), math.random(1, 12), math.random(1, 22)
  return date(year, month, day), date(year, month, day + 6)
end

function init(arguments)
  local workload, seed, url, token = arguments[1], tonumber(arguments[2]), arguments[3], arguments[4]
  local genres = lines(arguments[5])
  math.randomseed(seed)
  local headers = { Authorization = "Bearer " .. token, ["Content-Type"] = "application/json" }
  if workload == "create" then
    local name, number = string.format("New %d %d", seed, os.time()), 0
    request = function()
      number = number + 1
      local body = '{"title":"%s %d","genre":"%s","release_year":%d,"expiry_date":"%s"}'
      local year, expiry = math.random(1900, 2025), (week())
      return wrk.format("POST", url, headers, body:format(name, number, any(genres), year, expiry))
    end
    return
  end
  -- Built before the load, and then sent in turn.
  local ids = workload == "id" and lines(arguments[6])
  for number = 1, DISTINCT[workload] do
    local values = { genre = any(genres), id = ids and any(ids) }
    if workload == "week" then values.from, values.to = week() else values.from, values.to = months() end
    requests[number] = wrk.format("GET", (url:gsub("{(%w+)}", values)), headers)
  end
  request = function()
    following = following % #requests + 1
    return requests[following]
  end
end

function done(summary, latency)
  local errors = summary.errors
  local failed = errors.status + errors.connect + errors.read + errors.write + errors.timeout
  local half, most = latency:percentile(50) / 1000, latency:percentile(99) / 1000
  local form = 'measured {"requests":%d,"seconds":%.6f,"p50_ms":%.3f,"p99_ms":%.3f,"bytes":%d,"errors":%d}\n'
  io.write(form:format(summary.requests, summary.duration / 1e6, half, most, summary.bytes, failed))
end
