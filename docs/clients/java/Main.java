import static java.util.stream.Collectors.joining;

import cinequery.client.ApiClient;
import cinequery.client.ApiException;
import cinequery.client.ApiResponse;
import cinequery.client.api.MoviesApi;
import cinequery.client.api.MoviesApi.APIBatchMoviesRequest;
import cinequery.client.api.MoviesApi.APIBulkDeleteMoviesRequest;
import cinequery.client.api.MoviesApi.APICreateMovieRequest;
import cinequery.client.api.MoviesApi.APIGetMovieHistoryRequest;
import cinequery.client.api.MoviesApi.APIListMoviesRequest;
import cinequery.client.api.MoviesApi.APIRestoreMovieRequest;
import cinequery.client.api.MoviesApi.APIUpdateMovieRequest;
import cinequery.client.api.TokenApi;
import cinequery.client.model.BatchItem;
import cinequery.client.model.BatchOperation;
import cinequery.client.model.BatchReport;
import cinequery.client.model.BatchRequest;
import cinequery.client.model.Diagnostic;
import cinequery.client.model.HistoryPage;
import cinequery.client.model.Movie;
import cinequery.client.model.MovieBulkReport;
import cinequery.client.model.MovieDraft;
import cinequery.client.model.MoviePage;
import cinequery.client.model.MoviePatch;
import cinequery.client.model.MovieRestored;
import cinequery.client.model.Problem;
import cinequery.client.model.RestoreRequest;
import cinequery.client.model.Token;
import cinequery.client.model.TokenRequest;
import com.fasterxml.jackson.core.JsonProcessingException;
import java.time.LocalDate;
import java.util.List;
import java.util.Objects;
import java.util.UUID;

/**
 * Signs in, then creates, finds, changes and deletes a movie.
 *
 * <p>The SDK reads text in the platform's charset, which before Java 18 is UTF-8 for certain only
 * with {@code -Dfile.encoding=UTF-8}.
 */
public class Main {
  public static void main(String[] args) throws ApiException, JsonProcessingException {
    ApiClient client = new ApiClient();
    client.updateBaseUri(System.getenv().getOrDefault("CINEQUERY_URL", "http://127.0.0.1:8080"));

    Token token = new TokenApi(client).signIn(new TokenRequest()
        .username(environment("CINEQUERY_USERNAME"))
        .password(environment("CINEQUERY_PASSWORD")));
    System.out.printf("signed in for %d s%n", token.getExpiresIn());

    // An API keeps the settings that its client has when it is made: the token comes first.
    client.setRequestInterceptor(
        request -> request.setHeader("Authorization", "Bearer " + token.getAccessToken()));
    MoviesApi movies = new MoviesApi(client);

    // With an idempotency key, a request whose response was lost can be sent again.
    APICreateMovieRequest create = APICreateMovieRequest.newBuilder()
        .idempotencyKey(UUID.randomUUID().toString())
        .movieDraft(new MovieDraft()
            .title("The Third Man")
            .genre("film noir")
            .releaseYear(1949)
            .expiryDate(LocalDate.of(2031, 12, 31)))
        .build();
    ApiResponse<Movie> created = movies.createMovieWithHttpInfo(create);
    Movie movie = created.getData();
    System.out.printf("created %s, version %d%n", movie.getTitle(), movie.getVersion());
    if (!movies.createMovie(create).getId().equals(movie.getId())) {
      throw new IllegalStateException("a retry created another movie");
    }
    System.out.println("retried: the same movie");

    MoviePage found = movies.listMovies(APIListMoviesRequest.newBuilder()
        .filter("genre = \"film noir\" and release_year between 1940 and 1949")
        .orderBy("release_year, title")
        .build());
    System.out.println("found " + found.getItems().stream()
        .map(each -> "%s (%d)".formatted(each.getTitle(), each.getReleaseYear()))
        .collect(joining(", ")));

    int count = 0;
    int pages = 0;
    String cursor = null;
    do {
      MoviePage page = movies.listMovies(
          APIListMoviesRequest.newBuilder().limit(10).cursor(cursor).build());
      count += page.getItems().size();
      pages++;
      cursor = page.getNextCursor();
    } while (cursor != null);
    System.out.printf("walked %d movies on %d pages%n", count, pages);

    ApiResponse<Movie> updated = movies.updateMovieWithHttpInfo(APIUpdateMovieRequest.newBuilder()
        .id(movie.getId())
        .ifMatch(etag(created))
        .moviePatch(new MoviePatch().expiryDate(LocalDate.of(2032, 6, 30)))
        .build());
    movie = updated.getData();
    System.out.printf("updated to version %d, expiring %s%n",
        movie.getVersion(), movie.getExpiryDate());

    HistoryPage history = movies.getMovieHistory(
        APIGetMovieHistoryRequest.newBuilder().id(movie.getId()).build());
    System.out.println("history: " + history.getItems().stream()
        .map(revision -> revision.getKind().getValue())
        .collect(joining(", ")));

    try {
      movies.listMovies(APIListMoviesRequest.newBuilder().filter("gnre = \"film noir\"").build());
      throw new IllegalStateException("a filter with an unknown field was accepted");
    } catch (ApiException failure) {
      // An exception has the body of the error response as text; the client's mapper parses it.
      Problem problem =
          client.getObjectMapper().readValue(failure.getResponseBody(), Problem.class);
      Diagnostic diagnostic = problem.getDiagnostics().get(0);
      System.out.printf("rejected: %s at column %d: %s; %s%n", diagnostic.getCode(),
          diagnostic.getColumn(), diagnostic.getMessage(), diagnostic.getHelp());
    }

    BatchRequest batch = new BatchRequest();
    for (String title : List.of("Batch One", "Batch Two")) {
      batch.addOperationsItem(new BatchItem()
          .op(BatchOperation.CREATE)
          .putRecordItem("title", title)
          .putRecordItem("genre", "drama")
          .putRecordItem("release_year", 2001)
          .putRecordItem("expiry_date", "2031-12-31"));
    }
    BatchReport results = movies.batchMovies(
        APIBatchMoviesRequest.newBuilder().batchRequest(batch).build());
    System.out.println("wrote a batch: " + results.getResults().stream()
        .map(result -> result.getStatus().toString())
        .collect(joining(", ")));

    // Nothing is deleted unless exactly so many movies match.
    MovieBulkReport report = movies.bulkDeleteMovies(APIBulkDeleteMoviesRequest.newBuilder()
        .filter("title starts with \"Batch \"")
        .expect(2)
        .build());
    System.out.printf("deleted %d that match a filter%n", report.getWritten());

    movies.deleteMovie(movie.getId(), etag(updated));
    System.out.println("deleted");
    ApiResponse<MovieRestored> restored = movies.restoreMovieWithHttpInfo(
        APIRestoreMovieRequest.newBuilder()
            .id(movie.getId())
            .restoreRequest(new RestoreRequest().version(1L))
            .build());
    System.out.printf("restored as version %d%n", restored.getData().getRecord().getVersion());
    movies.deleteMovie(movie.getId(), etag(restored));
  }

  private static String environment(String name) {
    return Objects.requireNonNull(System.getenv(name), name + " is not set");
  }

  private static String etag(ApiResponse<?> response) {
    return response.getHeaders().get("ETag").get(0);
  }
}
